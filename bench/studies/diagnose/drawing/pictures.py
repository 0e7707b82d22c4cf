"""Rows of pictures: attention maps of teacher and student, images before and after a purifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.report.paper import PAGE, RIGHT, WRONG, Drawing, about, plain, sheet
from bench.studies.diagnose.record import Diagnosed, Fidelity

_NAMES = 1.25  # inches for the names of rows


def attention(one: Diagnosed, width: float = PAGE) -> Drawing:
    """Images, and where teacher and student look, clean and attacked."""
    figures, part = one.record, one.record.attention
    assert part is not None
    taught = part.teacher is not None
    maps = [
        (f"{who}\non {state}" if taught else f"attention\non {state}", f"attention_{who}_{state}")
        for who in (("teacher", "student") if taught else ("student",))
        for state in ("clean", "adversarial")
    ]
    what = f"Where {figures.network.defense}{' and its teacher look' if taught else ' looks'}"
    distances = [f"mean |A(x') − A(x)| {part.student_moved:.3f}"]
    if part.teacher_moved is not None and part.apart_adversarial is not None:
        distances.append(f"teacher's {part.teacher_moved:.3f}")
        distances.append(f"student A(x') to teacher A(x) {part.apart_adversarial:.3f}")
    stage = "last stage" if part.stage == -1 else f"stage {part.stage}"
    caption = (
        f"{what}, clean and under attack; below the images: what it says. {about(figures)}; {stage}, "
        f"{part.height}×{part.width}; {', '.join(distances)}."
    )
    shown = fitting(len(one.array("shown")), width)
    figure, axes = grid(2 + len(maps), shown, width)
    images(axes[0], one.array("image_clean"), "clean image")
    images(axes[1], one.array("image_adversarial"), "adversarial\nimage")
    _classes(axes[0], axes[1], one)
    shade = None
    for row, (title, name) in zip(axes[2:], maps, strict=True):
        for place, (cell, values) in enumerate(zip(row, one.array(name), strict=False)):
            shade = cell.imshow(values, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
            _name(cell, title if place == 0 else None)
    if shade is not None:
        bar = figure.colorbar(shade, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.01)
        bar.set_label("attention A, scaled to [0, 1] for each image")
        bar.outline.set_linewidth(0.4)
    columns = ("id", "defense", "example", "label", "map", "row", "column", "attention")
    rows = _map_rows(one, [name for _, name in maps])
    return Drawing(f"attention-{figures.id}", figure, columns, rows, caption)


def _map_rows(one: Diagnosed, names: Sequence[str]) -> list[tuple[object, ...]]:
    shown = one.array("shown")
    ids, labels = one.array("ids")[shown], one.array("labels")[shown]
    return [
        (
            one.record.id,
            one.record.network.defense,
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


def purification(one: Diagnosed, width: float = PAGE) -> Drawing:
    """Images before and after a purifier, clean and attacked."""
    figures, part = one.record, one.record.purification
    assert part is not None
    before = {
        "clean": "clean",
        "adversarial_gray": "attacked past\nthe purifier\n(gray-box)",
        "adversarial_white": "attacked through\nthe purifier\n(white-box)",
    }
    names = [name for kept in before if kept in part.pictures for name in (kept, f"{kept}_purified")]
    caption = (
        f"Images before and after the purifier of {figures.network.defense}; below each image: class of the "
        "bare classifier, PSNR in dB, SSIM; at the left: means over all n. "
        f"{about(figures, knowledge=False)}."
    )
    figure, axes = grid(len(names), fitting(len(one.array("shown")), width), width, below=0.33)
    rows: list[tuple[object, ...]] = []
    shown = one.array("shown")
    true_classes(axes[0], one)
    for row, name in zip(axes, names, strict=True):
        title = before.get(name, "purified")
        images(row, one.array(f"picture_{name}"), f"{title}\n{_means(part.pictures[name], name)}")
        classes, ratios, similarities = (one.array(f"{what}_{name}") for what in ("verdict", "psnr", "ssim"))
        for place, e in enumerate(shown):
            label, said = int(one.array("labels")[e]), int(classes[e])
            ratio, similarity = float(ratios[e]), float(similarities[e])
            close = "" if name == "clean" else f"\n{_decibels(ratio)}, {similarity:.2f}"
            if place < len(row):
                below(row[place], f"{class_name(one, said)}{close}", said == label)
            identity = int(one.array("ids")[e])
            finite = ratio if np.isfinite(ratio) else None
            rows.append(
                (figures.id, figures.network.defense, identity, label, name, said, finite, similarity)
            )
    columns = ("id", "defense", "example", "label", "picture", "class", "psnr", "ssim")
    return Drawing(f"purification-{figures.id}", figure, columns, rows, caption)


def fitting(images: int, width: float) -> int:
    """How many columns of pictures have room: words must fit below each."""
    return min(images, 6 if width == PAGE else 3)


def grid(rows: int, columns: int, width: float, below: float = 0.2) -> tuple[Figure, NDArray[Any]]:
    """A figure of square cells without axes; `below`: inches of text below each."""
    cell = min((width - _NAMES) / columns, 0.8)
    figure = sheet(width, rows * (cell + below) + 0.45)
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
    return figure, axes


def images(row: Sequence[Axes], shown: NDArray[Any], title: str) -> None:
    """The first images [S, C, H, W] that have room in a row, and its name."""
    for place, (cell, image) in enumerate(zip(row, shown, strict=False)):
        if len(image) == 3:
            cell.imshow(np.clip(image.transpose(1, 2, 0), 0, 1), interpolation="nearest")
        else:
            cell.imshow(image.mean(axis=0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        _name(cell, title if place == 0 else None)


def below(cell: Axes, text: str, is_right: bool) -> None:
    """Words below a picture; what is wrong is bold, too, for those who see no colours."""
    weight, colour = ("normal", RIGHT) if is_right else ("bold", WRONG)
    cell.set_xlabel(text, size=7, labelpad=2, color=colour, weight=weight)


def true_classes(row: Sequence[Axes], one: Diagnosed) -> None:
    """The true class above each picture of a row."""
    for cell, e in zip(row, one.array("shown"), strict=False):
        cell.set_title(f"true: {class_name(one, int(one.array('labels')[e]))}", pad=3)


def class_name(one: Diagnosed, label: int) -> str:
    """A class by its name, cut where it is long; a refusal by its own."""
    if label < 0:
        return "refused"
    name = one.record.classes[label]
    return plain(name if len(name) <= 12 else f"{name[:11]}…")


def _name(cell: Axes, title: str | None) -> None:
    if title is not None:
        cell.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=4)


def _classes(clean: Sequence[Axes], adversarial: Sequence[Axes], one: Diagnosed) -> None:
    """What the deployed defense says, below each image, and above it the true class."""
    true_classes(clean, one)
    for place, e in enumerate(one.array("shown")[: len(clean)]):
        label = int(one.array("labels")[e])
        for cell, name in ((clean[place], "class_clean"), (adversarial[place], "class_adversarial")):
            said = int(one.array(name)[e])
            below(cell, f"says {class_name(one, said)}", said == label)


def _means(part: Fidelity, name: str) -> str:
    right = f"{100 * part.accuracy.value:.1f} % right"
    if name == "clean":
        return right
    return f"{'∞' if part.psnr is None else f'{part.psnr:.1f}'} dB, {part.ssim:.2f}, {right}"


def _decibels(ratio: float) -> str:
    return f"{ratio:.1f}" if np.isfinite(ratio) else "∞"
