"""Loss landscapes: the loss around images, towards what an attack made of them and in a random direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from bench.errors import BadValue
from bench.report.paper import PAGE, Drawing, about, folded, plain, sheet
from bench.studies.diagnose.drawing.compared import labels
from bench.studies.diagnose.drawing.pictures import class_name
from bench.studies.diagnose.record import Diagnosed, Landscape

COLUMNS = ("id", "defense", "example", "label", "adversarial_step", "random_step", "loss", "margin", "class")
"""Of the CSV: a line for each point of each surface; steps in multiples of what the attack changed."""

_LEAST = 1e-4  # losses below look alike


def landscape(found: Sequence[Diagnosed], width: float = PAGE) -> Drawing:
    """A row for each defense, a surface for each of its examples; the colours mean the same in all.

    Raises:
        BadValue: they are of other images, budgets or attacks.
    """
    _require_alike(found)
    across = max(len(one.array("landscape_examples")) for one in found)
    cell = (width - 1.1) / across
    figure = sheet(width, len(found) * (cell + 0.1) + 0.35)
    figure.set_layout_engine("compressed")
    axes = figure.subplots(len(found), across, squeeze=False, sharex=True, sharey=True)
    every = np.log10(np.maximum(np.concatenate([one.array("landscape_loss") for one in found]), _LEAST))
    levels = np.linspace(np.floor(2 * every.min()) / 2, np.ceil(2 * every.max()) / 2, 15)
    shade: Any = None
    rows: list[tuple[object, ...]] = []
    for row, one, name in zip(axes, found, labels(found), strict=True):
        for spare in row[len(one.array("landscape_examples")) :]:
            spare.set_visible(False)
        for place, (panel, e) in enumerate(zip(row, one.array("landscape_examples"), strict=False)):
            shade = _surface(panel, one, place, levels)
            panel.set_title(f"true: {class_name(one, int(one.array('labels')[e]))}", pad=3)
            rows += _rows(one, place, int(e))
        row[0].set_ylabel(f"{plain(folded(name, 16))}\nrandom step" if len(found) > 1 else "random step")
    figure.supxlabel("adversarial step", size=8)
    bar = figure.colorbar(shade, ax=axes, pad=0.02, aspect=30)
    bar.set_label("cross-entropy")
    ticks = np.arange(np.ceil(levels[0]), np.floor(levels[-1]) + 1)
    bar.set_ticks(list(ticks), labels=[f"{10.0**tick:g}" for tick in ticks])
    bar.outline.set_linewidth(0.4)
    name = f"landscape-{found[0].record.id}" if len(found) == 1 else "landscape"
    return Drawing(name, figure, COLUMNS, rows, _caption(found))


def _surface(panel: Axes, one: Diagnosed, place: int, levels: NDArray[np.float64]) -> Any:
    """Level lines of the loss, and the border beyond which the answer is wrong."""
    at = one.array("landscape_at")
    loss = np.log10(np.maximum(one.array("landscape_loss")[place], _LEAST))
    margin = one.array("landscape_margin")[place]
    shade = panel.contourf(at, at, loss, levels=levels, cmap="viridis")
    panel.contour(at, at, loss, levels=levels, colors="white", linewidths=0.3, linestyles="solid")
    if margin.min() < 0 < margin.max():
        for colour, width in (("black", 2.0), ("white", 1.0)):
            panel.contour(at, at, margin, levels=[0], colors=colour, linewidths=width)
    panel.plot([0], [0], "o", color="white", markeredgecolor="black", markersize=4)
    panel.plot([1], [0], "X", color="white", markeredgecolor="black", markersize=5)
    panel.add_patch(Rectangle((-1, -1), 2, 2, fill=False, linewidth=0.6, linestyle=(0, (2, 2))))
    panel.set_aspect("equal")
    panel.set_xticks([-1, 0, 1])
    panel.set_yticks([-1, 0, 1])
    return shade


def _rows(one: Diagnosed, place: int, e: int) -> list[tuple[object, ...]]:
    at, loss, margin, said = (one.array(f"landscape_{name}") for name in ("at", "loss", "margin", "class"))
    head = (one.record.id, one.record.network.defense, int(one.array("ids")[e]), int(one.array("labels")[e]))
    return [
        (*head, float(at[a]), float(at[b]), float(value), float(margin[place, b, a]), int(said[place, b, a]))
        for (b, a), value in np.ndenumerate(loss[place])
    ]


def _require_alike(found: Sequence[Diagnosed]) -> None:
    grounds = [(one.record.data_digest, one.record.budget, one.record.attack) for one in found]
    for one, ground in zip(found, grounds, strict=True):
        if ground != grounds[0]:
            first = found[0].record
            raise BadValue(
                f"landscape cannot be compared: {first.id} is of {first.data}, {first.budget}, "
                f"{one.record.id} of {one.record.data}, {one.record.budget}, expected the same of all",
                "bench plot with one of them at a time",
            )


def _caption(found: Sequence[Diagnosed]) -> str:
    first = found[0].record
    part = first.landscape
    assert isinstance(part, Landscape)
    return (
        f"Cross-entropy of {', '.join(labels(found))} around images (circle), towards what the attack made "
        "of them (cross; step 1) and along the same changes in random order with random signs, clipped to "
        "[0, 1]; double line: border of the right answer; dashed: steps of at most 1. "
        f"{about(first)}, {part.steps}×{part.steps} points each."
    )
