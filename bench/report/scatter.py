"""Clean against robust accuracy: a mark for each training, hollow ones for what was published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.records.claims import Claim, claim_of
from bench.records.record import Interval, Record
from bench.report.annotate import name_points
from bench.report.paper import COLOURS, COLUMN, GRAY, MARKERS, Drawing, plain, sheet
from bench.report.setting import require_alike, setting, suite_label

COLUMNS = (
    *("run", "defense", "architecture", "recipe", "seed", "suite", "kind"),
    *("clean_accuracy", "clean_low", "clean_high"),
    *("robust_accuracy", "robust_low", "robust_high", "n", "source"),
)
"""Of the CSV: a line for each training (kind "this") and for each published number."""

_NAMED = 4.5  # names that have room in an inch of width; where there are more, marks are numbered


def scatter(records: Sequence[Record], width: float = COLUMN) -> Drawing:
    """Every training with both 95 % intervals; names beside the marks, once for each defense.

    Raises:
        BadValue: a record has no worst case, or they cannot be compared.
    """
    require_alike(records)
    names = list(dict.fromkeys(record.defense for record in records))
    published = {name: _published(records, name) for name in names}
    is_named = len(names) <= _NAMED * width
    lines = 0 if is_named else math.ceil(len(names) / _across(width))
    figure = sheet(width, (width * 0.8 if width == COLUMN else width * 0.5) + 0.15 * lines)
    axes = figure.subplots()
    first: dict[str, tuple[float, float]] = {}
    for place, name in enumerate(names):
        look = _look(place)
        for record in records:
            if record.defense == name:
                point = _mark(axes, record.clean, _worst(record), look)
                first.setdefault(name, point)
        claim = published[name]
        if claim is not None and claim.clean is not None:
            hollow: dict[str, Any] = {"mfc": "white", "markersize": 4, "markeredgewidth": 0.8}
            axes.plot(100 * claim.clean, 100 * claim.robust, linestyle="none", **look, **hollow)
    axes.set_xlabel("clean accuracy (%)")
    axes.set_ylabel("robust accuracy (%)")
    axes.margins(0.08)
    axes.grid()
    shown = [claim for claim in published.values() if claim is not None and claim.clean is not None]
    handles = [
        Line2D([], [], color=GRAY, marker="o", linestyle="none", mfc=fill, label=label)
        for fill, label in (((GRAY, "measured here"), ("white", "published")) if shown else ())
    ]
    if not is_named:
        handles += [
            Line2D([], [], linestyle="none", **_look(place), label=f"{place + 1} {plain(name)}")
            for place, name in enumerate(names)
        ]
    if handles:
        across = 2 if is_named else _across(width)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=across, handletextpad=0.1, columnspacing=0.8
        )
    told = [plain(name) if is_named else str(place + 1) for place, name in enumerate(names)]
    name_points(axes, [first[name] for name in names], told)
    rows = [*(_row(record) for record in records), *(_claim_row(claim) for claim in shown)]
    return Drawing("scatter", figure, COLUMNS, rows, _caption(records, shown))


def _look(place: int) -> dict[str, Any]:
    """Colour and marker: 49 defenses are told apart."""
    return {"color": COLOURS[place % 7], "marker": MARKERS[(place + place // 7) % 7]}


def _across(width: float) -> int:
    return 2 if width == COLUMN else 5


def _mark(axes: Axes, clean: Interval, robust: Interval, look: dict[str, Any]) -> tuple[float, float]:
    """A mark with its two intervals; where it is."""
    x, y = 100 * clean.value, 100 * robust.value
    thin = {"color": look["color"], "linewidth": 0.6, "alpha": 0.6, "zorder": 1}
    axes.hlines(y, 100 * clean.low, 100 * clean.high, **thin)
    axes.vlines(x, 100 * robust.low, 100 * robust.high, **thin)
    axes.plot(x, y, linestyle="none", **look)
    return x, y


def _worst(record: Record) -> Interval:
    assert record.worst_case is not None
    return record.worst_case


def _published(records: Sequence[Record], name: str) -> Claim | None:
    return next((claim_of(record) for record in records if record.defense == name), None)


def _row(record: Record) -> tuple[object, ...]:
    clean, robust = record.clean, _worst(record)
    recipe = record.recipe if record.training else None
    who = (record.run_id, record.defense, record.architecture, recipe, record.seed, suite_label(record))
    shares = (clean.value, clean.low, clean.high, robust.value, robust.low, robust.high)
    return (*who, "this", *shares, robust.n, None)


def _claim_row(claim: Claim) -> tuple[object, ...]:
    who = (None, claim.defense, claim.architecture, None, None, claim.attack)
    return (*who, claim.kind, claim.clean, None, None, claim.robust, None, None, None, claim.source)


def _caption(records: Sequence[Record], shown: Sequence[Claim]) -> str:
    first = records[0]
    made = sorted({f"{r.architecture} by {r.recipe}" for r in records if r.training})
    of = f", {', '.join(made)}" if len(made) == 1 else ""
    told = (
        f"Clean accuracy against robust accuracy (worst case of {suite_label(first)}), a mark for each "
        f"training, lines: 95 % Wilson intervals. {setting(first).label}{of}."
    )
    if shown:
        told += (
            " Hollow: published numbers for the same data and radius, other networks, trainings and attacks: "
            + "; ".join(f"{claim.defense} ({claim.architecture}, {claim.attack})" for claim in shown)
            + "."
        )
    return told
