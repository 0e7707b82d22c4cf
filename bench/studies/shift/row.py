"""Shifts: accuracy under common corruptions, and over a grid of rotations and translations."""

from __future__ import annotations

from bench.studies.study import Figure, Study

STUDY = Study(
    name="shift",
    does="Accuracy under corruptions, rotations and translations.",
    result="shift",
    former="shift-*.json",
    results="shifts",
    folder="shift",
    writes="the table as markdown, the numbers as CSV, the corruptions as PNG and PDF with a caption",
    example="bench shift NAME",
    budgeted=False,
    figures={"shift": Figure("accuracy under common corruptions", "report:shift_figure")},
)
