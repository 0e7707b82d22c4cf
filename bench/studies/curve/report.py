"""Curves as a table and as a figure: one row for each value of the axis, one line for each defense."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from bench.core.threat import format_eps, parse_eps
from bench.records.store import write_atomically
from bench.report.names import labels
from bench.report.paper import (
    COLOURS,
    COLUMN,
    DASHES,
    GRAY,
    MARKERS,
    Drawing,
    paper,
    plain,
    require_few,
    sheet,
)
from bench.report.paper import write as write_figure
from bench.report.render import Cell, ColumnKind, Table, TableColumn, markdown
from bench.report.setting import require_same_ground
from bench.studies.curve.record import Curve, CurvePoint

TITLES = {
    "eps": "radius (pixel units)",
    "steps": "steps of the attack",
    "restarts": "restarts of the attack",
    "queries": "queries",
}
"""Axis -> what stands below it."""

NUMBERS = (
    *("curve", "defense", "architecture", "axis", "value", "at", "robust_accuracy", "low", "high", "robust"),
    *("n", "unbroken", "forwards", "backwards", "seconds"),
)
"""Of the CSV: a line for each point of each curve, shares as fractions."""

_ROUND = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


def tables(found: Sequence[Curve]) -> list[Table]:
    """One table, of one curve or of several side by side."""
    return [curve_table(found)]


def write(found: Sequence[Curve], folder: Path) -> list[Path]:
    """The table, its numbers, and the figure as a picture and for print, with its caption."""
    with paper():
        drawing = curve_figure(found)
        picture, numbers, below = write_figure(drawing, folder, "png")
        printed = write_figure(drawing, folder, "pdf")[0]
    table = folder / f"{drawing.name}.md"
    write_atomically(table, markdown(curve_table(found)).encode())
    return [table, numbers, picture, printed, below]


def curve_table(found: Sequence[Curve]) -> Table:
    """One curve with its costs, or several side by side.

    Raises:
        BadValue: they are of different images, budgets or axes.
    """
    first = _same_setting(found)
    columns, rows = _alone(first) if len(found) == 1 else _together(found)
    facts = (
        ("defense", ", ".join(labels(found))),
        ("data", f"{first.data}, {first.examples} examples"),
        ("budget", first.budget if first.axis != "eps" else f"{first.budget}, whose radius grows"),
        *(("attack", f"{attack}, {first.knowledge}") for attack in attacks_of(first)),
        ("recipe", ", ".join(sorted({curve.network.recipe for curve in found}))),
        ("seed", str(first.seed)),
        ("curve", ", ".join(curve.id for curve in found)),
    )
    notes = [f"robust accuracy in % over all {first.examples} examples, with 95 % Wilson intervals"]
    if len(first.attacks) > 1:
        notes.append("each attack goes on with what those before it left; a point is their worst case")
    if first.axis == "eps":
        notes.append("every radius is attacked afresh; unbroken: by no radius up to this one")
    for label, curve in zip(labels(found), found, strict=True):
        notes += _ending(label, curve)
        notes += [
            f"{finding.severity}: {label}: {finding.detail} ({finding.code})" for finding in curve.findings
        ]
    return Table(f"robust accuracy over {first.axis}", columns, rows, facts, tuple(notes))


def curve_figure(found: Sequence[Curve], width: float = COLUMN) -> Drawing:
    """A line for each defense with its interval as a band; told apart by colour, dashes and markers.

    Raises:
        BadValue: they cannot be compared, or are more than can be told apart.
    """
    first = _same_setting(found)
    require_few(len(found), "curves")
    figure = sheet(width, 2.1 + 0.13 * len(found))
    axes = figure.subplots()
    for place, (label, curve) in enumerate(zip(labels(found), found, strict=True)):
        at = np.array([point.at for point in curve.points])
        shares = [(point.robust.low, point.robust.value, point.robust.high) for point in curve.points]
        low, value, high = 100 * np.array(shares).T
        look = {"color": COLOURS[place], "linestyle": DASHES[place]}
        stepped = curve.axis == "queries"
        if stepped:
            axes.step(at, value, where="post", label=plain(label), **look)
        else:
            axes.plot(at, value, marker=MARKERS[place], label=plain(label), clip_on=False, **look)
        step: Any = "post" if stepped else None
        axes.fill_between(at, low, high, step=step, color=COLOURS[place], alpha=0.15, linewidth=0)
    _scale(axes, found)
    axes.set_ylim(0, 101)
    axes.set_xlabel(TITLES[first.axis])
    axes.set_ylabel("robust accuracy (%)")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=2, handlelength=3.4)
    return Drawing(f"curve-{first.axis}", figure, NUMBERS, _numbers(found), caption(found))


def caption(found: Sequence[Curve]) -> str:
    """What to print below the figure: how it was measured, in whole sentences."""
    first = found[0]
    what = {
        "eps": "each radius attacked afresh",
        "steps": "each number of steps attacked afresh from the same random starts",
        "restarts": "each restart on what the ones before it left",
        "queries": "one attack, of which each example has its own limit",
    }[first.axis]
    attacks = "; then, on what stands, ".join(attacks_of(first))
    sentences = [
        f"Robust accuracy over {first.axis} of {', '.join(labels(found))} on {first.data} "
        f"(n = {first.examples}, {first.budget}, seed {first.seed}), {first.knowledge}: {what}.",
        f"Attack: {attacks}.",
        "Bands: 95 % Wilson intervals.",
    ]
    if _reaches_budget(found):
        sentences.append(f"The vertical line is the radius of the run, {first.eps}.")
    for label, curve in zip(labels(found), found, strict=True):
        sentences += [f"{finding.code} ({label}): {finding.detail}." for finding in curve.findings]
    return " ".join(sentences)


def attacks_of(curve: Curve) -> tuple[str, ...]:
    """The attacks with every parameter that all points share: what the axis says, they do not.

    >>> from types import SimpleNamespace
    >>> attacks_of(SimpleNamespace(axis="steps", attacks=("APGD(steps=100, loss=margin)", "Mine(steps=2)")))
    ('APGD(loss=margin)', 'Mine()')
    """
    if curve.axis != "steps":
        return curve.attacks
    return tuple(_STEPS.sub("", attack, count=1) for attack in curve.attacks)


_STEPS = re.compile(r"\bsteps=\d+, |(, )?\bsteps=\d+(?=\))")


def _alone(curve: Curve) -> tuple[tuple[TableColumn, ...], tuple[tuple[Cell, ...], ...]]:
    columns = (
        TableColumn(curve.axis, "value"),
        TableColumn("robust accuracy %", "robust_accuracy", ColumnKind.INTERVAL),
        TableColumn("unbroken %", "unbroken", ColumnKind.SHARE, dispensable=2),
        TableColumn("forwards", "forwards", ColumnKind.NUMBER, dispensable=1),
        TableColumn("backwards", "backwards", ColumnKind.NUMBER, dispensable=1),
        TableColumn("seconds", "seconds", ColumnKind.NUMBER, dispensable=3),
    )
    rows = [
        (point.value, point.robust, point.unbroken.value, point.forwards, point.backwards, point.seconds)
        for point in _shown(curve)
    ]
    if curve.axis != "queries":
        return columns, tuple(rows)
    return columns[:2], tuple(row[:2] for row in rows)


def _together(found: Sequence[Curve]) -> tuple[tuple[TableColumn, ...], tuple[tuple[Cell, ...], ...]]:
    axis = found[0].axis
    columns = (
        TableColumn(axis, "value"),
        *(TableColumn(f"{label} %", label, ColumnKind.INTERVAL) for label in labels(found)),
    )
    shown = [{point.value: point.robust for point in _shown(curve)} for curve in found]
    values = sorted({value for points in shown for value in points}, key=parse_eps)
    return columns, tuple((value, *(points.get(value) for points in shown)) for value in values)


def _shown(curve: Curve) -> list[CurvePoint]:
    """All points, or of hundreds those at round numbers and the last."""
    if curve.axis != "queries":
        return list(curve.points)
    end = curve.points[-1].at
    rounds = [value for value in _ROUND if value < end]
    last = [max((p for p in curve.points if p.at <= value), key=lambda p: p.at) for value in rounds]
    told = [_at(point, value) for point, value in zip(last, rounds, strict=True)]
    return [*told, curve.points[-1]]


def _at(point: CurvePoint, value: int) -> CurvePoint:
    return CurvePoint(str(value), float(value), point.robust, point.unbroken, None, None, None)


def _ending(label: str, curve: Curve) -> list[str]:
    """Where a curve over radii stops, and why."""
    if curve.axis != "eps" or curve.whole_box is None:
        return []
    last = curve.points[-1]
    if last.at >= curve.whole_box:
        return [f"{label}: eps {last.value} is the whole box: any image is allowed"]
    if last.robust.value <= 0.01:
        return [f"{label}: broken at eps {last.value}, so larger radii were not measured"]
    return []


def _scale(axes: Any, found: Sequence[Curve]) -> None:
    first, last = found[0], max(curve.points[-1].at for curve in found)
    if first.axis in ("steps", "queries"):
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if first.axis == "restarts":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, last)
    if _reaches_budget(found):
        usual = float(parse_eps(first.eps))
        axes.axvline(usual, color=GRAY, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
        text = f" {format_eps(parse_eps(first.eps))}"
        axes.text(usual, 101, text, color=GRAY, size=7, va="bottom", ha="center")


def _reaches_budget(found: Sequence[Curve]) -> bool:
    """Whether a radius as large as that of the run was measured: what broke sooner says nothing of it."""
    last = max(curve.points[-1].at for curve in found)
    return found[0].axis == "eps" and float(parse_eps(found[0].eps)) <= last


def _numbers(found: Sequence[Curve]) -> list[tuple[object, ...]]:
    return [
        (
            *(curve.id, curve.network.defense, curve.network.architecture, curve.axis, point.value, point.at),
            *(point.robust.value, point.robust.low, point.robust.high, point.robust.count, point.robust.n),
            *(point.unbroken.value, point.forwards, point.backwards, point.seconds),
        )
        for curve in found
        for point in curve.points
    ]


def _same_setting(found: Sequence[Curve]) -> Curve:
    choose = f"bench plot {found[0].axis} NAME... --eps {found[0].eps}"
    return require_same_ground(found, "curves", _ground, _told, choose)


def _told(curve: Curve) -> str:
    return f"{curve.data} over {curve.axis}, {curve.budget}, {curve.examples} examples, {curve.knowledge}"


def _ground(curve: Curve) -> tuple[object, ...]:
    return curve.axis, curve.data_digest, curve.budget, curve.examples, curve.knowledge
