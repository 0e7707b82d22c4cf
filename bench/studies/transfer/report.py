"""A transfer matrix as a table and as a heat map; rows made the images, columns are shown them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.records.store import write_atomically
from bench.report.paper import COLUMN, PAGE, Drawing, about, folded, paper, plain, sheet
from bench.report.paper import write as write_figure
from bench.report.render import Cell, ColumnKind, Marked, Table, TableColumn, markdown
from bench.studies.transfer.record import Transfer

WHITE_BOX = "*"
"""The mark of a network that is shown images made on itself."""

SLACK = 0.01
"""By what share of the examples images of others must do better than its own before it is told."""

FEW = 5
"""How many networks have room for their names below a heat map as wide as a page."""


def tables(found: Sequence[Transfer]) -> list[Table]:
    """One table for each matrix."""
    return [transfer_table(one) for one in found]


def write(found: Sequence[Transfer], folder: Path) -> list[Path]:
    """The table, its numbers, and the heat map as a picture and for print, with its caption."""
    (matrix,) = found  # one request makes one
    table = folder / "transfer.md"
    write_atomically(table, markdown(transfer_table(matrix)).encode())
    with paper():
        drawing = heat_map(matrix)
        picture, numbers, below = write_figure(drawing, folder, "png")
        printed = write_figure(drawing, folder, "pdf")[0]
    return [table, numbers, picture, printed, below]


def transfer_table(found: Transfer) -> Table:
    """A row for each network that images were made on, below the clean accuracies; robust accuracy in %."""
    places = range(len(found.networks))
    names = [re.sub(r"(?=[\[@])|(?<=[,+])", " ", label) for label in found.labels]  # so that they fold
    columns = (
        TableColumn("images made on", "source"),
        *(
            TableColumn(title, f"{network.defense}@{network.architecture}", ColumnKind.SHARE)
            for title, network in zip(names, found.networks, strict=True)
        ),
    )
    rows: list[tuple[Cell, ...]] = [("none (clean)", *(_cell(n.clean.value, " ") for n in found.networks))]
    for source in places:
        shares = [
            _cell(found.robust[source][target].value, WHITE_BOX if found.white_box(source, target) else " ")
            for target in places
        ]
        rows.append((names[source], *shares))
    facts = (
        ("data", f"{found.data}, {found.examples} examples"),
        ("budget", found.budget),
        ("attack", f"{found.attack}, {found.knowledge} on the network that images are made on"),
        ("architecture", f"{found.networks[0].architecture}, where no other is named"),
        ("recipe", ", ".join(sorted({network.recipe for network in found.networks}))),
        ("seed", str(found.seed)),
        ("matrix", found.id),
    )
    notes = (
        "rows: the network that images were made on; columns: the network that they were shown to",
        f"robust accuracy in % over all {found.examples} examples",
        f"{WHITE_BOX} white-box: the images were made on this very network",
        *_masked(found),
    )
    return Table("transfer matrix", columns, tuple(rows), facts, notes)


def heat_map(found: Transfer, width: float | None = None) -> Drawing:
    """The matrix in colours, with its numbers; outlined where a network is attacked by itself."""
    values = 100 * np.array([[cell.value for cell in row] for row in found.robust])
    count = len(values)
    width = width or (COLUMN if count <= 2 else PAGE)
    figure = sheet(width, max(1.7, 0.9 + 0.4 * count))
    axes = figure.subplots()
    shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    down, across = _ticks(found, width)
    axes.set_xticks(range(count), across)
    axes.set_yticks(range(count), down)
    axes.tick_params(length=0)
    axes.set_xlabel(_target(found, width))
    axes.set_ylabel("made on (source)")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    form = "{:.1f}" if width == PAGE else "{:.0f}"
    for (source, target), value in np.ndenumerate(values):
        home = found.white_box(source, target)
        colour = "black" if value > 60 else "white"
        weight = "bold" if home else "normal"
        axes.text(target, source, form.format(value), ha="center", va="center", color=colour, weight=weight)
    if width == PAGE:  # in one column the figures in the cells must do
        bar = figure.colorbar(shown, ax=axes)
        bar.set_label("robust accuracy (%)")
        bar.outline.set_linewidth(0.6)
    of = about(cast(Any, found))  # it asks for what every measurement has
    caption = (
        f"Robust accuracy (%) under images made on other networks: {', '.join(found.labels)}. {of}; bold: "
        "white-box, images made on this very network."
    )
    return Drawing("transfer", figure, COLUMNS, _rows(found), caption)


COLUMNS = (
    "source",
    "source_training",
    "target",
    "target_training",
    "relation",
    "robust_accuracy",
    "low",
    "high",
    "robust",
    "n",
    "target_clean_accuracy",
)
"""Of the CSV beside the picture: a line for each pair, shares as fractions."""


_COLUMNS_WIDE = 4.6
"""Inches of a page that the columns of a matrix share; rows' names and the bar of colours have the rest."""
_LETTER_WIDE = 0.068
"""Inches of a letter in 8 points, with some air."""


def _target(found: Transfer, width: float) -> str:
    if _named_below(found, width):
        return "shown to (target)"
    return (
        "shown to (target, numbered like the sources; below: clean)"
        if width == PAGE
        else "target; below: clean"
    )


def _named_below(found: Transfer, width: float) -> bool:
    """Whether the names of the columns have room beside each other, so that they need no numbers."""
    return width == PAGE and len(found.networks) <= FEW


def _ticks(found: Transfer, width: float) -> tuple[list[str], list[str]]:
    """Names of the rows; of the columns, with clean accuracies: numbers, where names have no room."""
    clean = [f"{100 * network.clean.value:.1f}" for network in found.networks]
    if _named_below(found, width):
        room = min(22, int(_COLUMNS_WIDE / len(clean) / _LETTER_WIDE))
        below = [plain(folded(label, room)) for label in found.labels]
        names = [plain(folded(label, 16)) for label in found.labels]
        return names, [f"{name}\nclean {share}" for name, share in zip(below, clean, strict=True)]
    down = [f"{plain(folded(label))}  ({place})" for place, label in enumerate(found.labels, start=1)]
    clean = clean if width == PAGE else [f"{100 * network.clean.value:.0f}" for network in found.networks]
    return down, [f"({place})\n{share}" for place, share in enumerate(clean, start=1)]


def _rows(found: Transfer) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for source, made in enumerate(found.networks):
        for target, shown in enumerate(found.networks):
            cell = found.robust[source][target]
            relation = "white-box" if found.white_box(source, target) else "transfer"
            rows.append(
                (
                    f"{made.defense}@{made.architecture}",
                    made.training_id,
                    f"{shown.defense}@{shown.architecture}",
                    shown.training_id,
                    relation,
                    cell.value,
                    cell.low,
                    cell.high,
                    cell.count,
                    cell.n,
                    shown.clean.value,
                )
            )
    return rows


def _masked(found: Transfer) -> list[str]:
    """Targets that images of others hurt more than their own: a sign that their gradients mislead."""
    notes = []
    places = range(len(found.networks))
    for target in places:
        own = min(found.robust[source][target].count for source in places if found.white_box(source, target))
        others = {
            found.robust[source][target].count: source
            for source in places
            if not found.white_box(source, target)
        }
        if not others or own - min(others) <= SLACK * found.examples:
            continue
        least = min(others)
        made, shown = found.labels[others[least]], found.labels[target]
        notes.append(
            f"warn: images of {made} leave {shown} {100 * least / found.examples:.1f} %, its own "
            f"{100 * own / found.examples:.1f} %: its gradients may mislead (masking), and the white-box "
            "figure flatters it"
        )
    return notes


def _cell(share: float, mark: str) -> Marked:
    return Marked(f"{100 * share:.1f}", mark)
