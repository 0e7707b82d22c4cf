"""Corruptions and poses as a table and as a figure: a row for each corruption, a mark for each defense."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.records.record import Interval
from bench.records.store import write_atomically
from bench.report.names import labels
from bench.report.paper import (
    COLOURS,
    COLUMN,
    MARKERS,
    PAGE,
    Drawing,
    folded,
    paper,
    plain,
    sheet,
)
from bench.report.paper import write as write_figure
from bench.report.queries import legend_columns
from bench.report.render import Cell, ColumnKind, Table, TableColumn, csv, markdown, percent
from bench.report.setting import require_same_ground
from bench.studies.shift.record import MAIN, SEQUENCES, Mean, Shift, mce

NUMBERS = (
    *("shift", "defense", "architecture", "group", "name", "severity", "accuracy", "low", "high", "right"),
    *("n", "refused", "distance"),
)
"""Of the CSV: a line for each corruption and severity of each defense, shares as fractions."""

_NOT = (
    "computed from the test images by the formulas of Hendrycks and Dietterich (ICLR 2019), without frost; "
    "not CIFAR-10-C, whose figures are other images'"
)


_OF_FILES = (
    "images of others, in files with the digest {digest}, as Hendrycks and Dietterich (ICLR 2019) published "
    "theirs; the mean is over the fifteen corruptions of their benchmark that are there"
)

_FLIPS = (
    "flips: how often the answer is another than to the frame before, or of noise than to the first "
    "(Hendrycks and Dietterich, ICLR 2019); the mean is over the ten perturbations of their benchmark that "
    "are there"
)


def tables(found: Sequence[Shift]) -> list[Table]:
    """One table, of one shift or of several side by side."""
    return [sequence_table(found) if found[0].perturbed else shift_table(found)]


def write(found: Sequence[Shift], folder: Path) -> list[Path]:
    """The table, its numbers, and the figure as a picture and for print, with its caption."""
    table = folder / "shift.md"
    write_atomically(table, markdown(tables(found)[0]).encode())
    if not found[0].corrupted:  # poses and sequences are few figures, which need no picture
        numbers = folder / "shift.csv"
        write_atomically(numbers, csv(number_table(found)).encode())
        return [table, numbers]
    with paper():
        drawing = shift_figure(found)
        picture, numbers, below = write_figure(drawing, folder, "png")
        printed = write_figure(drawing, folder, "pdf")[0]
    return [table, numbers, picture, printed, below]


def shift_table(found: Sequence[Shift]) -> Table:
    """Every severity of one defense, or the means of several side by side.

    Raises:
        BadValue: they are of different images or corruptions.
    """
    first = _same_setting(found)
    columns, rows = _alone(first) if len(found) == 1 else _together(found)
    facts = _facts(found)
    notes = [f"accuracy in % over all {first.examples} examples; a refusal is no right answer"]
    if first.corrupted:
        notes += ["mean: over the severities, 1 to 5", f"corruptions: {_made(first)}"]
    notes += _lacking(first)
    if first.files is not None and len(found) > 1:
        notes.append(
            f"mCE: mean corruption error in %, of which that of {labels(found)[0]} is 100 (lower is better)"
        )
    for label, one in zip(labels(found), found, strict=True) if first.corrupted else ():
        worst = min(one.names, key=one.mean_of)
        notes.append(f"{label}: worst corruption {worst}, {100 * one.mean_of(worst):.1f} % on average")
    if first.left_out:
        notes.append(f"left out, as not defined for such images: {', '.join(first.left_out)}")
    if first.posed:
        notes.append(f"{_poses(first)}; in the worst one a refusal counts as right, as under an attack")
    return Table("shift", columns, rows, tuple(facts), tuple(notes))


def sequence_table(found: Sequence[Shift]) -> Table:
    """Flips and accuracy of one defense on each perturbation, or the flips of several side by side.

    Raises:
        BadValue: they are of different images or perturbations.
    """
    first, names = _same_setting(found), labels(found)
    columns = [TableColumn("", "name"), *(TableColumn(f"{name} flips %", name) for name in names)]
    if len(found) == 1:
        columns = [
            TableColumn("", "name"),
            TableColumn("flips %", "flips"),
            TableColumn("accuracy %", "accuracy"),
        ]
    rows: list[tuple[Cell, ...]] = []
    for place, held in enumerate(first.perturbed):
        flips = [_mean(one.perturbed[place].flips) for one in found]
        rows.append((held.name, *flips, *([_mean(held.accuracy)] if len(found) == 1 else [])))
    if first.mean_flips is not None:
        means = [_mean(one.mean_flips) if one.mean_flips else None for one in found]
        counted = len([held for held in first.perturbed if held.name in SEQUENCES])
        rows.append((f"mean of {counted}", *means, *([None] if len(found) == 1 else [])))
    facts = [*_facts(found), ("clean", ", ".join(f"{percent(one.network.clean)} %" for one in found))]
    return Table("shift", tuple(columns), tuple(rows), tuple(facts), (_FLIPS, *_lacking(first)))


def _facts(found: Sequence[Shift]) -> list[tuple[str, str]]:
    first = found[0]
    return [
        ("defense", ", ".join(labels(found))),
        ("data", f"{first.data}, {first.examples} examples"),
        ("recipe", ", ".join(sorted({one.network.recipe for one in found}))),
        ("seed", str(first.seed)),
        ("shift", ", ".join(one.id for one in found)),
    ]


def _made(first: Shift) -> str:
    """Whose images they are."""
    return _NOT if first.files is None else _OF_FILES.format(digest=first.files.digest)


def _lacking(first: Shift) -> list[str]:
    lacking = first.files.lacking if first.files is not None else ()
    return [f"not in these files, so in no mean: {', '.join(lacking)}"] if lacking else []


MARKS = 4
"""Networks whose marks can be told apart in a row; of more a heat map is drawn."""


def shift_figure(found: Sequence[Shift], width: float | None = None) -> Drawing:
    """Accuracy under each corruption: marks of up to four networks, else a heat map.

    Raises:
        BadValue: they are of different images or corruptions.
    """
    return _marks(found, width or COLUMN) if len(found) <= MARKS else _map(found, width)


def _marks(found: Sequence[Shift], width: float) -> Drawing:
    """A row for each corruption, of which there is one: the mean as a mark, severities 1 to 5 as a line."""
    first = _same_setting(found)
    names = first.names
    figure = sheet(
        width,
        0.16 * -(-len(found) // legend_columns(width))
        + max(1.5, 0.6 + max(0.14, 0.1 + 0.06 * len(found)) * len(names)),
    )
    axes = figure.subplots()
    for place, (label, one) in enumerate(zip(labels(found), found, strict=True)):
        away = 0.0 if len(found) == 1 else 0.6 * (place / (len(found) - 1) - 0.5)
        colour, marker = COLOURS[place], MARKERS[place]
        for row, name in enumerate(names):
            shares = [100 * held.accuracy.value for held in one.of(name)]
            axes.plot([min(shares), max(shares)], [row + away] * 2, color=colour, linewidth=0.7, alpha=0.6)
            mean = 100 * one.mean_of(name)
            told = plain(label) if row == 0 else None
            axes.plot(mean, row + away, marker, color=colour, label=told, clip_on=False, linestyle="none")
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)  # rows keep off the frame, however few there are
    axes.set_xlim(0, 101)
    axes.set_xlabel("accuracy (%)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=legend_columns(width), handlelength=1.2)
    return Drawing("shift", figure, NUMBERS, numbers(found), caption(found))


def _map(found: Sequence[Shift], width: float | None) -> Drawing:
    """Means over the severities in colours, a row for each corruption and a column for each network."""
    first = _same_setting(found)
    wide = width or PAGE
    figure = sheet(wide, 1.6 + 0.17 * max(4, len(first.names)))
    axes = figure.subplots()
    values = np.array([[100 * one.mean_of(name) for one in found] for name in first.names])
    shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(found)), [plain(folded(label)) for label in labels(found)], rotation=90)
    axes.set_yticks(range(len(first.names)), [name.replace("_", " ") for name in first.names])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values) if len(found) <= 14 else ():
        colour = "black" if value > 60 else "white"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", size=7, color=colour)
    bar: Any = figure.colorbar(shown, ax=axes)
    bar.set_label("accuracy (%)")
    bar.outline.set_linewidth(0.6)
    return Drawing("shift", figure, NUMBERS, numbers(found), caption(found, _MAPPED))


_MARKED = "Marks: means over the severities; lines: from the best to the worst of them."
_MAPPED = "Colours and figures: means over the severities."


def caption(found: Sequence[Shift], shown: str = _MARKED) -> str:
    """What to print below the figure, in whole sentences."""
    first = found[0]
    sentences = [
        f"Accuracy of {', '.join(labels(found))} on {first.data} (n = {first.examples}, seed {first.seed}) "
        f"under {len(first.names)} common corruption{'s' * (len(first.names) != 1)} at five severities, "
        f"{_made(first)}.",
        shown,
    ]
    for label, one in zip(labels(found), found, strict=True):
        if one.mean:
            sentences.append(f"Mean of all, {label}: {_mean(one.mean)} %.")
        if one.posed:
            worst = percent(one.posed.worst)
            sentences.append(f"{label} keeps {worst} % in the worst of {_poses(one)}.")
    return " ".join(sentences)


def number_table(found: Sequence[Shift]) -> Table:
    """The numbers alone, for a CSV without a figure."""
    rows = tuple(tuple(cast(Cell, cell) for cell in row) for row in numbers(found))
    return Table("shift", tuple(TableColumn(name, name) for name in NUMBERS), rows)


def numbers(found: Sequence[Shift]) -> list[tuple[object, ...]]:
    """The rows of the CSV."""
    rows: list[tuple[object, ...]] = []
    for one in found:
        who = (one.id, one.network.defense, one.network.architecture)
        rows.append((*who, "", "clean", None, *_five(one.network.clean), None, None))
        for held in one.corrupted:
            what = (held.group, held.name, held.severity)
            rows.append((*who, *what, *_five(held.accuracy), held.refused, held.distance))
        for each in one.perturbed:
            flips = (*_three(each.flips), None, each.flips.n, None, None)
            rows.append((*who, each.group, f"{each.name}_flips", None, *flips))
            rows.append(
                (*who, each.group, each.name, None, *_three(each.accuracy), None, each.accuracy.n, None, None)
            )
        if one.mean_flips:
            flips = (*_three(one.mean_flips), None, one.mean_flips.n, None, None)
            rows.append((*who, "", "mean_flips", None, *flips))
        if one.mean:
            rows.append((*who, "", "mean", None, *_three(one.mean), None, one.mean.n, None, None))
        if one.files is not None and len(found) > 1 and (error := mce(one, found[0])) is not None:
            rows.append((*who, "", "mce", None, round(error, 6), None, None, None, None, None, None))
        if one.posed:
            random, ten, worst = one.posed.random, one.posed.worst_of_draws, one.posed.worst
            rows.append((*who, "poses", "random", None, *_three(random), None, random.n, None, None))
            rows.append((*who, "poses", f"worst_of_{one.posed.draws}", None, *_five(ten), None, None))
            rows.append((*who, "poses", f"worst_of_{one.posed.poses}", None, *_five(worst), None, None))
    return rows


def _alone(one: Shift) -> tuple[tuple[TableColumn, ...], tuple[tuple[Cell, ...], ...]]:
    refusing = any(held.refused for held in one.corrupted)
    columns = [
        TableColumn("", "name"),
        *(TableColumn(str(severity), f"severity_{severity}", ColumnKind.SHARE) for severity in range(1, 6)),
        TableColumn("mean %", "mean"),
        *([TableColumn("refused %", "refused", ColumnKind.SHARE)] if refusing else []),
    ]
    none, last = (None,) * 5, (None,) * refusing
    rows: list[tuple[Cell, ...]] = [("clean", *none, percent(one.network.clean), *last)]
    for name in one.names:
        held = one.of(name)
        gone = sum(each.refused for each in held) / (len(held) * one.examples)
        shares = {each.severity: each.accuracy.value for each in held}
        shown = [shares.get(severity) for severity in range(1, 6)]
        rows.append((name, *shown, f"{100 * one.mean_of(name):.1f}", *((gone,) if refusing else ())))
    rows += [(title, *none, text, *last) for title, text in _ends(one)]
    return tuple(columns), tuple(rows)


def _together(found: Sequence[Shift]) -> tuple[tuple[TableColumn, ...], tuple[tuple[Cell, ...], ...]]:
    columns = (TableColumn("", "name"), *(TableColumn(f"{label} %", label) for label in labels(found)))
    rows: list[tuple[Cell, ...]] = [("clean", *(percent(one.network.clean) for one in found))]
    rows += [(name, *(f"{100 * one.mean_of(name):.1f}" for one in found)) for name in found[0].names]
    ends = [_ends(one) for one in found]
    rows += [(ends[0][row][0], *(held[row][1] for held in ends)) for row in range(len(ends[0]))]
    if found[0].files is not None:
        rows.append(("mCE", *(_error(mce(one, found[0])) for one in found)))
    return columns, tuple(rows)


def _ends(one: Shift) -> list[tuple[str, str]]:
    """The last rows: the mean of all corruptions, and the poses."""
    counted = len([name for name in one.names if name in MAIN])
    title = "mean of all" if one.files is None else f"mean of {counted}"
    rows = [(title, _mean(one.mean))] if one.mean else []
    if one.posed:
        rows.append(("random pose", _mean(one.posed.random)))
        rows.append((f"worst of {one.posed.draws} poses", percent(one.posed.worst_of_draws)))
        rows.append((f"worst of {one.posed.poses} poses", percent(one.posed.worst)))
    return rows


def _poses(one: Shift) -> str:
    assert one.posed is not None
    held = one.posed
    reach = f"{held.degrees:g} degrees and {held.pixels} pixel{'s' * (held.pixels != 1)}"
    return f"{held.poses} poses of at most {reach} (Engstrom et al., ICML 2019)"


def _mean(held: Mean) -> str:
    return f"{100 * held.value:.1f} [{100 * held.low:.1f}, {100 * held.high:.1f}]"


def _error(found: float | None) -> str | None:
    return None if found is None else f"{100 * found:.1f}"


def _five(held: Interval) -> tuple[object, ...]:
    return held.value, held.low, held.high, held.count, held.n


def _three(held: Mean) -> tuple[object, ...]:
    return held.value, held.low, held.high


def _same_setting(found: Sequence[Shift]) -> Shift:
    return require_same_ground(found, "shifts", _ground, _told, "bench plot shift NAME...")


def _told(one: Shift) -> str:
    posed = ", without poses" if one.posed is None else ""
    posed += f", of files {one.files.digest}" if one.files is not None else ""
    return f"{one.data}, {one.examples} examples, seed {one.seed}, {len(one.names)} corruptions{posed}"


def _ground(one: Shift) -> tuple[object, ...]:
    sequences = [held.name for held in one.perturbed]
    return one.data_digest, one.examples, one.seed, one.names, one.posed is None, one.files, sequences
