"""Strength of attacks against their cost: robust accuracy over the passes spent on an example."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from bench.errors import BadValue
from bench.records.follow_ups import chain
from bench.records.record import Column, Interval, Record
from bench.report.annotate import name_points
from bench.report.names import pretty
from bench.report.paper import COLOURS, COLUMN, DASHES, MARKERS, Drawing, plain, require_few, sheet
from bench.report.setting import require_same_images, setting

COLUMNS = (
    *("run", "defense", "seed", "suite", "column", "knowledge", "after", "forwards", "backwards", "passes"),
    *("robust_accuracy", "low", "high", "n", "met", "broke", "is_strongest_so_far"),
)
"""Of the CSV: a line for each column of each record; passes: forwards and backwards, means per example.

A column that goes on from others leaves what all of them left, so its passes are those of all of them; what
it met and broke is its own.
"""


def cost(records: Sequence[Record], width: float = COLUMN) -> Drawing:
    """A mark for each column of each record; a line steps along the strongest attack for each price.

    Raises:
        BadValue: the records are of different images or budgets, too many, or counted no passes.
    """
    _require_comparable(records)
    alone = len(records) == 1
    figure = sheet(
        width,
        (2.3 if width == COLUMN else 3.0)
        + (0 if alone else 0.16 * -(-len(records) // _across(_names(records), width))),
    )
    axes = figure.subplots()
    rows: list[tuple[object, ...]] = []
    points, names = [], []
    for place, record in enumerate(records):
        best, colour = 1.0, COLOURS[place]
        front: list[tuple[float, float]] = []
        for column, robust, spent in _priced(record):
            passes, is_strongest = sum(spent), robust.value < best
            if is_strongest:
                best = robust.value
                front.append((passes, 100 * robust.value))
            look: dict[str, Any] = {"color": colour, "mfc": colour if is_strongest else "white"}
            axes.plot(passes, 100 * robust.value, MARKERS[place], **look)
            axes.vlines(passes, 100 * robust.low, 100 * robust.high, color=colour, linewidth=0.6, alpha=0.6)
            points.append((passes, 100 * robust.value))
            names.append(column.name)
            rows.append(_row(record, column, robust, spent, is_strongest))
        axes.step(
            *np.transpose(front), where="post", color=colour, linestyle=DASHES[place], linewidth=0.8, zorder=1
        )
    axes.set_xscale("log")
    axes.set_xlabel("forward and backward passes per example")
    axes.set_ylabel("robust accuracy (%)")
    axes.margins(0.1)
    _ticks(axes)
    axes.grid()
    if not alone:
        handles = [
            Line2D([], [], color=c, marker=m, linestyle=d, label=plain(name))
            for c, m, d, name in zip(COLOURS, MARKERS, DASHES, _names(records), strict=False)
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=_across(_names(records), width), handlelength=3
        )
    if alone:
        name_points(axes, points, [plain(name) for name in names], _along(front))
    return Drawing(f"cost-{records[0].run_id}" if alone else "cost", figure, COLUMNS, rows, _caption(records))


def _along(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of the line that goes level, then down, from one of the front to the next; names keep off it."""
    line = []
    for (x, y), (next_x, next_y) in pairwise(front):
        line += [(across, y) for across in np.geomspace(x, next_x, _DOTS)]
        line += [(next_x, down) for down in np.linspace(y, next_y, _DOTS)]
    return line


_DOTS = 30
"""Of each piece of a line, so close that no letter fits between them."""


def _ticks(axes: Axes) -> None:
    """Whole powers of ten with figures, 2 and 5 too where there are few powers; nothing between."""
    low, high = axes.get_xlim()
    if high < 4 * low:  # else ticks of a narrow range have figures that lie over each other
        low, high = low / 2, high * 2
        axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 50 * low else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _across(names: Sequence[str], width: float) -> int:
    """How many names of lines have room beside each other: letters are 0.065 inches wide, a line 0.55."""
    room = 0.55 + 0.065 * max(map(len, names))
    return max(1, min(4, int((width - 0.1) / room)))


def _priced(record: Record) -> list[tuple[Column, Interval, tuple[float, float]]]:
    """The columns that spent something, with the forwards and backwards that their accuracy cost.

    The cheapest first, and of those that cost the same the one that leaves least.
    """
    found = []
    for column in record.columns:
        if column.robust is not None and (column.forwards or 0) + (column.backwards or 0) > 0:
            whole = chain(column, record.columns)
            forwards = round(sum(one.forwards or 0.0 for one in whole), 3)
            backwards = round(sum(one.backwards or 0.0 for one in whole), 3)
            found.append((column, column.robust, (forwards, backwards)))
    priced = sorted(found, key=lambda one: (sum(one[2]), one[1].value))
    if not priced:
        raise BadValue(
            f"run {record.run_id} of {record.defense} has no column that spent a pass, expected a run "
            "that attacked something",
            "bench list runs",
        )
    return priced


def _require_comparable(records: Sequence[Record]) -> None:
    require_few(
        len(records), "runs", hint="--top 3, or --only NAME,NAME; --suite NAME leaves out other suites"
    )
    require_same_images(records, "cost")


def _names(records: Sequence[Record]) -> list[str]:
    """A name for each, with seed, suite and budget in training only where they differ."""
    seeds, suites = len({r.seed for r in records}) > 1, len({r.suite for r in records}) > 1
    budgets = len({r.trained_at for r in records}) > 1
    return [
        ", ".join(
            [
                pretty(r.defense),
                *([f"seed {r.seed}"] if seeds else []),
                *([r.trained_at] if budgets and r.trained_at else []),
                *([r.suite] if suites else []),
            ]
        )
        for r in records
    ]


def _row(
    record: Record, column: Column, robust: Interval, spent: tuple[float, float], is_strongest: bool
) -> tuple[object, ...]:
    who = (record.run_id, record.defense, record.seed, record.suite, column.name, column.knowledge)
    shares = (robust.value, robust.low, robust.high, robust.n)
    return (*who, column.after, *spent, sum(spent), *shares, column.met, column.broke, int(is_strongest))


_GOES_ON = "; a column that goes on from others stands for all of them, with the passes of all"


def _caption(records: Sequence[Record]) -> str:
    first = records[0]
    goes_on = any(column.after is not None for record in records for column in record.columns)
    return (
        f"Robust accuracy of {', '.join(dict.fromkeys(_names(records)))} under each column of "
        f"{', '.join(dict.fromkeys(r.suite for r in records))} against the forward and backward passes that "
        "it spent on an example, on average (an example costs nothing more once it is broken)"
        f"{_GOES_ON if goes_on else ''}; filled marks "
        "and line: the strongest for that price; vertical lines: 95 % Wilson intervals. "
        f"{setting(first).label}."
    )
