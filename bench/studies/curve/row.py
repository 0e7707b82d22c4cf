"""Curves: accuracy over the radius, the steps, the restarts and the queries of an attack."""

from __future__ import annotations

from bench.studies.study import Figure, Study

STUDY = Study(
    name="curve",
    does="Accuracy over the radius, the steps, restarts or queries.",
    result="curve",
    results="curves",
    folder="curves",
    writes="the table as markdown, the numbers as CSV, the figure as PNG and PDF, and its caption",
    example="bench curve NAME --over eps",
    figures={
        "eps": Figure("robust accuracy over the radius", "report:curve_figure"),
        "steps": Figure("robust accuracy over the steps of an attack", "report:curve_figure"),
        "restarts": Figure("robust accuracy over restarts", "report:curve_figure"),
        "queries": Figure("share still robust after so many queries", "report:curve_figure"),
    },
)
