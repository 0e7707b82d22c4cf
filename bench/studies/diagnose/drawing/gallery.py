"""Images as readers see them: clean, what the attack changed, adversarial, purified; each with its answer."""

from __future__ import annotations

import numpy as np

from bench.report.paper import PAGE, Drawing, about
from bench.studies.diagnose.drawing.pictures import below, class_name, fitting, grid, images, true_classes
from bench.studies.diagnose.record import Diagnosed

COLUMNS = ("id", "defense", "example", "label", "picture", "class", "confidence", "largest_change")
"""Of the CSV: a line for each shown example and state; changes in pixel units."""


def gallery(one: Diagnosed, width: float = PAGE) -> Drawing:
    """A column for each shown example."""
    figures, part, defense = one.record, one.record.gallery, one.record.network.defense
    assert part is not None
    clean, adversarial = one.array("image_clean"), one.array("image_adversarial")
    change = adversarial - clean
    scale = max(part.largest_change, 1e-12)
    figure, axes = grid(4 if part.is_purified else 3, fitting(len(clean), width), width)
    images(axes[0], clean, "clean")
    divided = f"÷ {2 * scale:.2g}" if part.largest_change else "none"
    images(axes[1], np.clip(0.5 + change / (2 * scale), 0, 1), f"change\n({divided})")
    images(axes[2], adversarial, "adversarial")
    if part.is_purified:
        images(axes[3], one.array("gallery_purified"), "purified")
    true_classes(axes[0], one)
    rows: list[tuple[object, ...]] = []
    for place, e in enumerate(one.array("shown")):
        label, number = int(one.array("labels")[e]), int(one.array("ids")[e])
        for state, row in (("clean", axes[0]), ("adversarial", axes[2])):
            said, sure = int(one.array(f"class_{state}")[e]), float(one.array(f"confidence_{state}")[e])
            if place < len(row):
                told = "" if said < 0 else f" ({100 * sure:.0f} %)"
                below(row[place], f"{class_name(one, said)}{told}", said == label)
            moved = float(np.abs(change[place]).max()) if state == "adversarial" else 0.0
            rows.append((figures.id, defense, number, label, state, said, sure, moved))
    most = f", black and white are {part.largest_change:.3g} in pixel units" if part.largest_change else ""
    purified = ", and what the purifier makes of them" if part.is_purified else ""
    caption = (
        f"{_which(one, len(axes[0]))}, adversarial images against {defense}{purified}; below: "
        "the answer of the deployed defense with its softmax, bold where it is wrong. Change: gray is none"
        f"{most}. {about(figures)}."
    )
    return Drawing(f"gallery-{figures.id}", figure, COLUMNS, rows, caption)


def _which(one: Diagnosed, drawn: int) -> str:
    """Which examples the columns are: the first of each class, as far as they go and have room."""
    labels = one.array("labels")
    told, present = labels[one.array("shown")[:drawn]], np.unique(labels)
    every = len(np.unique(told)) == len(present)
    if len(np.unique(told)) < len(told):
        return "The first image of each class and the first others" if every else "The first images"
    return (
        "The first image of each class"
        if every
        else f"The first image of {len(told)} of {len(present)} classes"
    )
