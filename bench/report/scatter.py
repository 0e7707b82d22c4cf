"""Clean against robust accuracy: a mark for each training, hollow ones for what was published."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.records.claims import Claim, claim_of
from bench.records.record import Interval, Record
from bench.report.annotate import Point, name_points
from bench.report.names import pretty
from bench.report.paper import COLOURS, COLUMN, GRAY, MARKERS, Drawing, plain, require_few, sheet, shortened
from bench.report.setting import require_alike, setting, suite_label

COLUMNS = (
    *("run", "defense", "architecture", "recipe", "seed", "suite", "kind"),
    *("clean_accuracy", "clean_low", "clean_high"),
    *("robust_accuracy", "robust_low", "robust_high", "n", "is_on_front", "source"),
)
"""Of the CSV: a line for each training (kind "this") and for each published number."""

Looks = Mapping[str, Mapping[str, Any]]
"""Defense -> its colour and marker; the defenses from the highest robust accuracy to the lowest."""

_FEW = 6  # defenses that have all their names beside their marks
_MOST = len(COLOURS) * len(MARKERS)


def scatter(records: Sequence[Record], width: float = COLUMN) -> Drawing:
    """Every training with both 95 % intervals; names once for each defense, the most robust first.

    Up to six defenses have their names beside their marks. Of more, a legend names all, and names stand
    beside the Pareto front alone: trainings to which no other is superior in both accuracies.

    Raises:
        BadValue: a record has no worst case, they cannot be compared, or there are more than 49 defenses.
    """
    require_alike(records)
    names = in_order_of_robustness(records)
    require_few(len(names), "defenses", _MOST, "--top 20, or --only NAME,NAME")
    looks: Looks = {name: _look(place) for place, name in enumerate(names)}
    said = {name: claim for name in names if (claim := _published(records, name)) is not None}
    shown = list(said.values())
    is_few = len(names) <= _FEW
    handles = [*_kinds(bool(shown)), *([] if is_few else _legend(looks, width))]
    lines = math.ceil(len(handles) / _across(width))
    figure = sheet(width, width * (0.8 if width == COLUMN else 0.5) + 0.15 * lines)
    axes = figure.subplots()
    for record in records:
        _mark(axes, record.clean, _worst(record), looks[record.defense])
    for name, claim in said.items():
        hollow: dict[str, Any] = {"mfc": "white", "markersize": 4, "markeredgewidth": 0.8}
        axes.plot(*_published_point(claim), linestyle="none", **looks[name], **hollow)
    _frame(axes)
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=_across(width),
            handletextpad=0.1,
            columnspacing=0.8,
        )
    front = pareto(records)
    named = _named(records if is_few else front)
    others = [*map(_point, records), *map(_published_point, shown)]
    colours = [looks[record.defense]["color"] for record in named]
    told = [shortened(plain(pretty(record.defense))) for record in named]
    name_points(axes, [_point(record) for record in named], told, others, colours)
    rows = [*(_row(record, record in front) for record in records), *map(_claim_row, shown)]
    return Drawing("scatter", figure, COLUMNS, rows, _caption(records, shown, is_few))


def in_order_of_robustness(records: Sequence[Record]) -> list[str]:
    """The defenses of records that have worst cases, by the highest that a training of each has."""
    highest: dict[str, float] = {}
    for record in records:
        highest[record.defense] = max(highest.get(record.defense, 0.0), _worst(record).value)
    return sorted(highest, key=lambda name: (-highest[name], name))


def pareto(records: Sequence[Record]) -> list[Record]:
    """The trainings to which no other is superior: as high in both accuracies and higher in one."""
    return [
        one
        for one in records
        if not any(
            _is_superior((other.clean.value, _worst(other).value), (one.clean.value, _worst(one).value))
            for other in records
        )
    ]


def _is_superior(other: Point, one: Point) -> bool:
    return other != one and other[0] >= one[0] and other[1] >= one[1]


def _named(records: Sequence[Record]) -> list[Record]:
    """One training of each defense, the most robust: its name stands beside the marks once."""
    found: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: -_worst(record).value):
        found.setdefault(record.defense, record)
    return list(found.values())


def _look(place: int) -> dict[str, Any]:
    """Colour and marker: 49 defenses are told apart."""
    return {"color": COLOURS[place % 7], "marker": MARKERS[(place + place // 7) % 7]}


def _across(width: float) -> int:
    return 2 if width == COLUMN else 5


def _kinds(published: bool) -> list[Line2D]:
    """What filled and hollow marks are, where there are hollow ones."""
    kinds = ((GRAY, "measured here"), ("white", "published")) if published else ()
    return [
        Line2D([], [], color=GRAY, marker="o", linestyle="none", mfc=fill, label=label)
        for fill, label in kinds
    ]


def _legend(looks: Looks, width: float) -> list[Line2D]:
    letters = 22 if width == COLUMN else 18
    return [
        Line2D([], [], linestyle="none", **look, label=shortened(plain(pretty(name)), letters))
        for name, look in looks.items()
    ]


def _frame(axes: Axes) -> None:
    axes.set_xlabel("clean accuracy (%)")
    axes.set_ylabel("robust accuracy (%)")
    axes.margins(0.08)
    axes.grid()


def _mark(axes: Axes, clean: Interval, robust: Interval, look: Mapping[str, Any]) -> None:
    """A mark with its two intervals."""
    x, y = 100 * clean.value, 100 * robust.value
    thin = {"color": look["color"], "linewidth": 0.6, "alpha": 0.6, "zorder": 1}
    axes.hlines(y, 100 * clean.low, 100 * clean.high, **thin)
    axes.vlines(x, 100 * robust.low, 100 * robust.high, **thin)
    axes.plot(x, y, linestyle="none", **look)


def _point(record: Record) -> Point:
    return 100 * record.clean.value, 100 * _worst(record).value


def _published_point(claim: Claim) -> Point:
    assert claim.clean is not None
    return 100 * claim.clean, 100 * claim.robust


def _worst(record: Record) -> Interval:
    assert record.worst_case is not None
    return record.worst_case


def _published(records: Sequence[Record], name: str) -> Claim | None:
    """What was published of a defense, if its clean accuracy was."""
    claim = next((claim_of(record) for record in records if record.defense == name), None)
    return claim if claim is not None and claim.clean is not None else None


def _row(record: Record, is_on_front: bool) -> tuple[object, ...]:
    clean, robust = record.clean, _worst(record)
    recipe = record.recipe if record.training else None
    who = (record.run_id, record.defense, record.architecture, recipe, record.seed, suite_label(record))
    shares = (clean.value, clean.low, clean.high, robust.value, robust.low, robust.high)
    return (*who, "this", *shares, robust.n, int(is_on_front), None)


def _claim_row(claim: Claim) -> tuple[object, ...]:
    who = (None, claim.defense, claim.architecture, None, None, claim.attack)
    return (*who, claim.kind, claim.clean, None, None, claim.robust, None, None, None, None, claim.source)


def _caption(records: Sequence[Record], shown: Sequence[Claim], is_few: bool) -> str:
    first = records[0]
    made = sorted({f"{r.architecture} by {r.recipe}" for r in records if r.training})
    of = f", {', '.join(made)}" if len(made) == 1 else ""
    told = (
        f"Clean accuracy against robust accuracy (worst case of {suite_label(first)}), a mark for each "
        f"training, lines: 95 % Wilson intervals. {setting(first).label}{of}."
    )
    if not is_few:
        told += (
            " Legend: from the highest robust accuracy of a defense to the lowest; named beside their marks: "
            "the Pareto front, trainings to which no other is superior in both accuracies."
        )
    if shown:
        told += (
            " Hollow: published numbers for the same data and radius, other networks, trainings and attacks: "
            + "; ".join(f"{pretty(claim.defense)} ({claim.architecture}, {claim.attack})" for claim in shown)
            + "."
        )
    return told
