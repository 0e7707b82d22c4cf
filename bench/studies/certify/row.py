"""Certificates: robust accuracy between what is proven and what attacks leave standing."""

from __future__ import annotations

from bench.studies.study import Figure, Study

STUDY = Study(
    name="certify",
    does="Robust accuracy between what is proven and what attacks leave.",
    result="certificate",
    results="certificates",
    folder="certificates",
    writes="the table as markdown, the numbers as CSV, the figure as PNG and PDF, and its caption",
    example="bench certify NAME",
    figures={
        "certify": Figure("accuracy that is proven and that attacks leave", "report:certificate_figure")
    },
)
