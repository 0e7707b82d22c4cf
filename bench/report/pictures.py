"""Rows of pictures: attention maps of teacher and student, images before and after a purifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.records.diagnostics import Diagnosed, Fidelity
from bench.report.paper import PAGE, RIGHT, WRONG, Drawing, about, plain, sheet

_CELL = 0.78  # inches of a picture


def attention(found: Sequence[Diagnosed]) -> list[Drawing]:
    """For each defense: images, and where teacher and student look, clean and attacked."""
    return [_attention(one) for one in found]


def purification(found: Sequence[Diagnosed]) -> list[Drawing]:
    """For each purifier: images before and after it, clean and attacked."""
    return [_purification(one) for one in found]


def _attention(one: Diagnosed) -> Drawing:
    figures, part = one.figures, one.figures.attention
    assert part is not None
    taught = part.teacher is not None
    maps = [
        (f"{who}\non {state}" if taught else f"attention\non {state}", f"attention_{who}_{state}")
        for who in (("teacher", "student") if taught else ("student",))
        for state in ("clean", "adversarial")
    ]
    what = f"Where {plain(figures.defense)}{' and its teacher look' if taught else ' looks'}"
    distances = [f"mean |A(x') − A(x)| {part.student_moved:.3f}"]
    if part.teacher_moved is not None and part.apart_adversarial is not None:
        distances.append(f"teacher's {part.teacher_moved:.3f}")
        distances.append(f"student A(x') to teacher A(x) {part.apart_adversarial:.3f}")
    stage = "last stage" if part.stage == -1 else f"stage {part.stage}"
    of = f"{about(figures)}; {stage}, {part.height}×{part.width}\n{', '.join(distances)}"
    figure, axes = _grid(2 + len(maps), len(one.array("shown")), what, of)
    _images(axes[0], one.array("image_clean"), "clean image")
    _images(axes[1], one.array("image_adversarial"), "adversarial\nimage")
    _classes(axes[0], axes[1], one)
    shade = None
    for row, (title, name) in zip(axes[2:], maps, strict=True):
        for place, (cell, values) in enumerate(zip(row, one.array(name), strict=True)):
            shade = cell.imshow(values, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
            _name(cell, title if place == 0 else None)
    if shade is not None:
        bar = figure.colorbar(shade, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.01)
        bar.set_label("attention A, scaled to [0, 1] for each image", size=7)
        bar.outline.set_linewidth(0.4)
    columns = ("id", "defense", "example", "label", "map", "row", "column", "attention")
    return Drawing(f"attention-{figures.id}", figure, columns, _map_rows(one, [name for _, name in maps]))


def _map_rows(one: Diagnosed, names: Sequence[str]) -> list[tuple[object, ...]]:
    shown = one.array("shown")
    ids, labels = one.array("ids")[shown], one.array("labels")[shown]
    return [
        (
            one.figures.id,
            one.figures.defense,
            int(ids[e]),
            int(labels[e]),
            name[10:],
            row,
            column,
            float(value),
        )
        for name in names
        for (e, row, column), value in np.ndenumerate(one.array(name))
    ]


def _purification(one: Diagnosed) -> Drawing:
    figures, part = one.figures, one.figures.purification
    assert part is not None
    before = {
        "clean": "clean",
        "adversarial_gray": "attacked past\nthe purifier\n(gray-box)",
        "adversarial_white": "attacked through\nthe purifier\n(white-box)",
    }
    names = [name for kept in before if kept in part.pictures for name in (kept, f"{kept}_purified")]
    what = f"Images before and after the purifier of {plain(figures.defense)}"
    told = "below each image: class of the bare classifier, PSNR in dB, SSIM; at the left: means over all n"
    of = f"{about(figures, knowledge=False)}\n{told}"
    figure, axes = _grid(len(names), len(one.array("shown")), what, of, below=0.2)
    rows: list[tuple[object, ...]] = []
    shown = one.array("shown")
    _true_classes(axes[0], one)
    for row, name in zip(axes, names, strict=True):
        title = before.get(name, "purified")
        _images(row, one.array(f"picture_{name}"), f"{title}\n{_means(part.pictures[name], name)}")
        classes, ratios, similarities = (one.array(f"{what}_{name}") for what in ("verdict", "psnr", "ssim"))
        for cell, e in zip(row, shown, strict=True):
            label, said = int(one.array("labels")[e]), int(classes[e])
            ratio, similarity = float(ratios[e]), float(similarities[e])
            close = "" if name == "clean" else f", {_decibels(ratio)}, {similarity:.2f}"
            text = f"{_class(one, said)}{close}"
            cell.set_xlabel(text, size=5.5, labelpad=2, color=RIGHT if said == label else WRONG)
            identity = int(one.array("ids")[e])
            finite = ratio if np.isfinite(ratio) else None
            rows.append((figures.id, figures.defense, identity, label, name, said, finite, similarity))
    columns = ("id", "defense", "example", "label", "picture", "class", "psnr", "ssim")
    return Drawing(f"purification-{figures.id}", figure, columns, rows)


def _grid(rows: int, columns: int, what: str, of: str, below: float = 0.12) -> tuple[Figure, NDArray[Any]]:
    figure = sheet(PAGE, rows * (_CELL + below) + 0.45, what, of)
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    for cell in axes.flat:
        cell.set_xticks([])
        cell.set_yticks([])
        cell.spines[:].set_visible(False)
    return figure, axes


def _images(row: Sequence[Axes], images: NDArray[Any], title: str) -> None:
    for place, (cell, image) in enumerate(zip(row, images, strict=True)):
        if len(image) == 3:
            cell.imshow(np.clip(image.transpose(1, 2, 0), 0, 1), interpolation="nearest")
        else:
            cell.imshow(image.mean(axis=0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        _name(cell, title if place == 0 else None)


def _name(cell: Axes, title: str | None) -> None:
    if title is not None:
        cell.set_ylabel(title, rotation=0, ha="right", va="center", size=7, labelpad=4)


def _classes(clean: Sequence[Axes], adversarial: Sequence[Axes], one: Diagnosed) -> None:
    """What the deployed defense says, below each image, and above it the true class."""
    _true_classes(clean, one)
    for place, e in enumerate(one.array("shown")):
        label = int(one.array("labels")[e])
        for cell, name in ((clean[place], "class_clean"), (adversarial[place], "class_adversarial")):
            said = int(one.array(name)[e])
            cell.set_xlabel(
                f"says {_class(one, said)}", size=6, labelpad=2, color=RIGHT if said == label else WRONG
            )


def _true_classes(row: Sequence[Axes], one: Diagnosed) -> None:
    for cell, e in zip(row, one.array("shown"), strict=True):
        cell.set_title(f"true: {_class(one, int(one.array('labels')[e]))}", size=7, pad=3)


def _class(one: Diagnosed, label: int) -> str:
    if label < 0:
        return "refused"
    name = one.figures.classes[label]
    return plain(name if len(name) <= 12 else f"{name[:11]}…")


def _means(part: Fidelity, name: str) -> str:
    right = f"{100 * part.accuracy.value:.1f} % right"
    if name == "clean":
        return right
    return f"{'∞' if part.psnr is None else f'{part.psnr:.1f}'} dB, {part.ssim:.2f}, {right}"


def _decibels(ratio: float) -> str:
    return f"{ratio:.1f}" if np.isfinite(ratio) else "∞"
