"""Figures of papers from stored diagnostics and runs, by kind; nothing is computed from networks here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.errors import BadValue
from bench.records.diagnostics import KINDS, Diagnosed, Kind
from bench.report import charts, pictures
from bench.report.distances import distances
from bench.report.paper import Drawing, Format, paper, write
from bench.report.queries import Run, queries

DRAW: Mapping[Kind, Callable[[Sequence[Diagnosed]], list[Drawing]]] = {
    "attention": pictures.attention,
    "embedding": charts.embedding,
    "contributions": charts.contributions,
    "purification": pictures.purification,
    "training": charts.training,
}
"""Pictures have a figure for each defense, charts compare all that are given."""


def draw(found: Sequence[Diagnosed], kinds: Sequence[Kind], folder: Path, form: Format) -> list[Path]:
    """Write the figures and their numbers; without kinds, all that there are.

    Raises:
        BadValue: a kind was asked for that some do not hold, or what they hold cannot be compared.
    """
    for kind in kinds:
        for one in found:
            if kind not in one.figures.kinds:
                raise BadValue(_lacking(one, kind))
    with paper():
        drawings = [
            drawing
            for kind in kinds or KINDS
            if (held := [one for one in found if kind in one.figures.kinds])
            for drawing in DRAW[kind](held)
        ]
        if not drawings:
            raise BadValue(_lacking(found[0], KINDS[0]))
        return [path for drawing in drawings for path in write(drawing, folder, form)]


def draw_queries(runs: Sequence[Run], every_column: bool, folder: Path, form: Format) -> list[Path]:
    """Write the curves of queries to success and their numbers; all runs are in one figure.

    Raises:
        BadValue: a run holds no such curve, or the runs cannot be compared.
    """
    with paper():
        return write(queries(runs, every_column), folder, form)


def draw_distances(runs: Sequence[Run], folder: Path, form: Format) -> list[Path]:
    """Write the curves of distances to the nearest mistakes and their numbers; all runs are in one figure.

    Raises:
        BadValue: a run holds no such curve, or the runs cannot be compared.
    """
    with paper():
        return write(distances(runs), folder, form)


def _lacking(one: Diagnosed, kind: Kind) -> str:
    figures = one.figures
    there = ", ".join(figures.kinds) or "another defense, because these hold nothing that can be drawn"
    why = figures.left_out.get(kind, "it was not looked for")
    return f"the diagnostics {figures.id} of {figures.defense} hold no {kind} ({why}), expected {there}"
