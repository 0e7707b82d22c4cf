"""Charts that compare defenses: features in the plane, contributing features, training curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from bench.errors import BadValue
from bench.report.paper import (
    CLASS_COLOURS,
    COLOURS,
    DASHES,
    GRAY,
    MARKERS,
    PAGE,
    Drawing,
    about,
    folded,
    plain,
    require_few,
    sheet,
)
from bench.studies.diagnose.drawing.compared import labels
from bench.studies.diagnose.record import Diagnosed, Diagnosis, Embedding, TrainingLog

STATES = ("clean", "adversarial")

_STYLES: dict[str, Any] = {"clean": "-", "adversarial": (0, (3, 1.5))}

_PANEL = 1.6  # inches of width that a panel of embeddings needs


def embedding(found: Sequence[Diagnosed], width: float = PAGE) -> Drawing:
    """Penultimate features in the plane, clean and adversarial in the same one; crosses are misclassified."""
    ground = _same_setting(found, "embedding")
    names = labels(found)
    across = min(len(found), int(width / _PANEL))
    blocks = math.ceil(len(found) / across)
    rows, columns = (1, 2) if len(found) == 1 else (2 * blocks, across)
    lines = math.ceil((len(ground.classes) + 2) / _entries(width))
    each = width / max(columns, 2) * (0.72 if width == PAGE else 0.9)
    figure = sheet(width, rows * (each + 0.45) + 0.2 + 0.17 * lines)
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    table: list[tuple[object, ...]] = []
    for place, one in enumerate(found):
        pair: Any
        block, column = divmod(place, across)
        pair = axes[0] if len(found) == 1 else axes[2 * block : 2 * block + 2, column]
        told = None if len(found) == 1 else plain(names[place])
        _features(pair, one, told, table, is_narrow=width != PAGE)
    for spare in axes.flat:
        spare.set_visible(bool(spare.collections))
    _class_legend(figure, ground, found, _entries(width))
    columns_ = ("id", "defense", "example", "state", "x", "y", "label", "class", "misclassified")
    method = {"pca": "principal components", "tsne": "t-SNE"}[_embedded(found[0]).method]
    caption = (
        f"Penultimate features of {', '.join(names)} in the plane ({method} of clean and adversarial images "
        f"together); percent: nearest to the mean of their own class; crosses: misclassified. "
        f"{about(ground)}."
    )
    return Drawing(_named("embedding", found), figure, columns_, table, caption)


def _embedded(one: Diagnosed) -> Embedding:
    part = one.record.embedding
    assert part is not None
    return part


def _entries(width: float) -> int:
    """How many entries of a legend have room beside each other."""
    return 6 if width == PAGE else 3


def _features(
    pair: Sequence[Axes],
    one: Diagnosed,
    name: str | None,
    table: list[tuple[object, ...]],
    *,
    is_narrow: bool,
) -> None:
    """The two panels of one defense, with the same axes."""
    part, labels = _embedded(one), one.array("labels")
    both = np.concatenate([one.array(f"embedding_{state}") for state in STATES])
    low, high = both.min(axis=0), both.max(axis=0)
    room = np.maximum(high - low, 1e-6) * 0.05
    near = {"clean": part.nearest_mean_clean, "adversarial": part.nearest_mean_adversarial}
    for panel, state in zip(pair, STATES, strict=True):
        plane, said = one.array(f"embedding_{state}"), one.array(f"class_{state}")
        wrong = said != labels
        colours = np.array([_class_colour(int(label)) for label in labels])
        panel.scatter(
            plane[~wrong, 0], plane[~wrong, 1], c=list(colours[~wrong]), s=7, marker="o", linewidths=0
        )
        panel.scatter(
            plane[wrong, 0], plane[wrong, 1], c=list(colours[wrong]), s=11, marker="x", linewidths=0.8
        )
        panel.set_xlim(low[0] - room[0], high[0] + room[0])
        panel.set_ylim(low[1] - room[1], high[1] + room[1])
        held = near[state]
        between = "\n" if is_narrow else ": "
        told = "" if held is None else f"{between}{100 * held.value:.1f} %"
        above = "" if name is None else f"{folded(name)}\n"
        panel.set_title(f"{above}{state}{told}")
        axis = "PC" if part.method == "pca" else "t-SNE"
        shares = ["", ""] if part.explained is None else [f" ({100 * e:.0f} %)" for e in part.explained]
        panel.set_xlabel(f"{axis} 1{shares[0]}")
        panel.set_ylabel(f"{axis} 2{shares[1]}")
        panel.locator_params(nbins=4)
        _name_classes(panel, one)
        for e, point in enumerate(plane):
            table.append(
                (
                    one.record.id,
                    one.record.network.defense,
                    int(one.array("ids")[e]),
                    state,
                    float(point[0]),
                    float(point[1]),
                    int(labels[e]),
                    int(said[e]),
                    int(wrong[e]),
                )
            )


def _name_classes(panel: Axes, one: Diagnosed) -> None:
    """The name of each class at the mean of its clean points: the colours need not be told apart."""
    labels, plane = one.array("labels"), one.array("embedding_clean")
    outline: list[Any] = [withStroke(linewidth=1.5, foreground="white")]
    for label in np.unique(labels):
        x, y = plane[labels == label].mean(axis=0)
        name = plain(one.record.classes[int(label)])[:9]
        text = panel.text(x, y, name, size=7, weight="bold", ha="center", va="center", clip_on=True)
        text.set_path_effects(outline)


def _class_legend(figure: Figure, ground: Diagnosis, found: Sequence[Diagnosed], across: int) -> None:
    present = sorted({int(label) for one in found for label in one.array("labels")})
    own = [
        label for label in present if label < len(CLASS_COLOURS) - (len(ground.classes) > len(CLASS_COLOURS))
    ]
    handles = [_dot(_class_colour(label), plain(ground.classes[label])) for label in own]
    if len(own) < len(present):
        handles.append(_dot(CLASS_COLOURS[-1], "other classes"))
    handles.append(_dot("black", "classified right"))
    handles.append(
        Line2D([], [], color="black", marker="x", linestyle="", markersize=4, label="misclassified")
    )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), across), handletextpad=0.1
    )


def contributions(found: Sequence[Diagnosed], width: float = PAGE) -> Drawing:
    """N_90 of clean and adversarial images, and how fast the largest contributions add up."""
    require_few(len(found), "diagnostics")
    ground, names = _same_setting(found, "contributions"), labels(found)
    tall = 1.6 + 0.34 * len(found)
    if width == PAGE:
        figure = sheet(width, tall)
        boxes, curves = figure.subplots(1, 2, width_ratios=(1.15, 1))
    else:
        figure = sheet(width, tall + 2.0)
        boxes, curves = figure.subplots(2, 1, height_ratios=(tall - 0.9, 1.7))
    table: list[tuple[object, ...]] = []
    for place, (one, colour) in enumerate(zip(found, COLOURS, strict=False)):
        for state, side in zip(STATES, (-0.18, 0.18), strict=True):
            counts, shares = one.array(f"n90_{state}"), one.array(f"coverage_{state}")
            _box(boxes, counts, place + side, colour, filled=state == "clean")
            steps = np.arange(1, len(shares) + 1)
            curves.plot(
                *(steps, 100 * shares),
                color=colour,
                linestyle=_STYLES[state],
                marker=MARKERS[place] if len(found) > 1 else None,
                markevery=(0.05 * place, 0.25),
            )
            head = (one.record.id, one.record.network.defense, state)
            ids = one.array("ids")
            table += [(*head, "n90", int(ids[e]), int(count)) for e, count in enumerate(counts)]
            table += [
                (*head, "coverage", int(k), float(share)) for k, share in zip(steps, shares, strict=True)
            ]
    if len(found) > 1:
        boxes.set_yticks(range(len(found)), [plain(folded(name)) for name in names])
    else:
        boxes.set_yticks([])
    boxes.set_ylim(len(found) - 0.5, -0.5)
    boxes.set_xlim(left=0)
    widths = {len(one.array("coverage_clean")) for one in found}
    boxes.set_xlabel(f"$N_{{90}}$ of each image{f', of {widths.pop()} features' if len(widths) == 1 else ''}")
    boxes.grid(axis="x")
    curves.axhline(90, color=GRAY, linewidth=0.6, linestyle=":")
    curves.set_xscale("log")
    curves.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    curves.set_xlim(left=1)
    curves.set_ylim(0, 101)
    curves.set_yticks([0, 30, 60, 90])
    curves.set_xlabel("largest contributions")
    curves.set_ylabel("their mean share (%)")
    curves.grid()
    _contribution_legend(figure, [plain(name) for name in names], _entries(width) - 1)
    columns = ("id", "defense", "state", "quantity", "example_or_count", "value")
    caption = (
        f"How many features make 90 % of what speaks for the true class, of {', '.join(names)} (boxes: "
        "quartiles, whiskers: 5th and 95th percentile, dots: means), and the mean share that the largest "
        f"contributions make. {about(ground)}."
    )
    return Drawing(_named("contributions", found), figure, columns, table, caption)


def _contribution_legend(figure: Figure, names: Sequence[str], across: int) -> None:
    """Box and line for each state, and a colour for each defense."""
    tint = GRAY if len(names) > 1 else COLOURS[0]
    handles: list[Any] = [
        (
            Patch(facecolor=f"{tint}59" if state == "clean" else "white", edgecolor=tint),
            Line2D([], [], color=tint, linestyle=_STYLES[state]),
        )
        for state in STATES
    ]
    shown = list(STATES)
    if len(names) > 1:
        looks = zip(COLOURS, MARKERS, names, strict=False)
        handles += [Line2D([], [], color=colour, marker=marker) for colour, marker, _ in looks]
        shown += names
    figure.legend(
        handles,
        shown,
        loc="outside lower center",
        ncols=min(len(handles), across),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.4)},
        handlelength=3.2,
    )


def _box(panel: Axes, counts: NDArray[Any], at: float, colour: str, filled: bool) -> None:
    """Quartiles and median, whiskers from the 5th to the 95th percentile, a dot at the mean."""
    least, low, median, high, most = np.quantile(counts, [0.05, 0.25, 0.5, 0.75, 0.95])
    panel.hlines(at, least, most, color=colour, linewidth=0.8)
    panel.vlines([least, most], at - 0.07, at + 0.07, color=colour, linewidth=0.8)
    fill = f"{colour}59" if filled else "white"
    panel.barh(at, high - low, 0.28, low, facecolor="white", zorder=2)
    panel.barh(at, high - low, 0.28, low, facecolor=fill, edgecolor=colour, linewidth=0.8, zorder=3)
    panel.vlines(median, at - 0.14, at + 0.14, color=colour, linewidth=1.6, zorder=4)
    panel.plot(counts.mean(), at, ".", color="black", markersize=4, zorder=5)


def training(found: Sequence[Diagnosed], width: float = PAGE) -> Drawing:
    """The loss (each term of it for a single defense), held-out accuracies, and the learning rate."""
    require_few(len(found), "diagnostics")
    names, first = labels(found), found[0].record
    _same([one.record.data_digest for one in found], [one.record.data for one in found], "training", found)
    alone = len(found) == 1
    if width == PAGE:
        figure = sheet(width, 2.3)
        loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 0.8))
    else:
        figure = sheet(width, 5.2)
        loss, accuracy, rate = figure.subplots(3, 1, height_ratios=(1.2, 1.2, 0.8))
    table: list[tuple[object, ...]] = []
    for place, one in enumerate(found):
        curve = one.record.training
        assert curve is not None
        epochs = np.arange(1, len(curve.rows) + 1)
        colour = COLOURS[place]
        if alone:
            _terms(loss, epochs, curve)
        else:
            _line(loss, epochs, curve.column("loss"), colour, place=place)
        mark = None if alone else place
        _line(accuracy, epochs, 100 * curve.column("clean_accuracy"), colour, style="--", place=mark)
        _line(accuracy, epochs, 100 * curve.column("robust_accuracy"), colour, place=mark)
        _line(rate, epochs, curve.column("lr"), colour, place=mark)
        for panel in (loss, accuracy, rate):
            for border in np.flatnonzero(np.diff(curve.column("stage"))) + 1.5:
                panel.axvline(border, color=GRAY, linewidth=0.5, linestyle=":")
        kept = _kept(one, curve)
        if kept is not None:
            robust, clean = (100 * curve.column(f"{name}_accuracy")[kept] for name in ("robust", "clean"))
            accuracy.plot([kept + 1] * 2, [robust, clean], "o", color=colour, markersize=4, mfc="white")
        table += _log_rows(one, curve)
    several = alone and len(loss.lines) > 1
    loss.set_ylabel("training loss and its terms" if several else "training loss")
    accuracy.set_ylabel("held-out accuracy (%)")
    accuracy.set_ylim(0, 101)
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(-2, 3))
    for panel in (loss, accuracy, rate):
        panel.set_xlabel("epoch")
        panel.grid()
        panel.locator_params(axis="x", integer=True, nbins=6)
    steps = {_validation_steps(one.record) for one in found}
    handles = [
        Line2D([], [], color=GRAY, linestyle="--", label="clean"),
        Line2D([], [], color=GRAY, label=f"under PGD{f'-{steps.pop()}' if len(steps) == 1 else ''}"),
        Line2D([], [], color=GRAY, marker="o", mfc="white", linestyle="", markersize=4, label="kept epoch"),
    ]
    if alone:
        handles = [*loss.get_legend_handles_labels()[0], *handles]
    else:
        looks = zip(COLOURS, MARKERS, names, strict=False)
        handles += [Line2D([], [], color=c, marker=m, label=plain(name)) for c, m, name in looks]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 5 if width == PAGE else 2)
    )
    columns = ("id", "defense", "row", "quantity", "value")
    budgets = sorted({one.record.train_budget for one in found})
    recipes = sorted({one.record.weights.recipe for one in found})
    caption = (
        f"Training of {', '.join(names)}: loss, held-out accuracy, learning rate. {first.data}, attacks "
        f"within {', '.join(budgets)}, recipe {', '.join(recipes)}."
    )
    return Drawing(_named("training", found), figure, columns, table, caption)


def _validation_steps(figures: Diagnosis) -> object:
    return figures.spec["run"]["training"]["recipe"]["validation_steps"]


def _terms(panel: Axes, epochs: NDArray[Any], curve: TrainingLog) -> None:
    """The loss in black; its terms in colours where there are several, on a logarithmic axis if needed."""
    _line(panel, epochs, curve.column("loss"), "black", label="loss")
    styles = DASHES[:3]
    if len(curve.terms) > 1:
        for place, term in enumerate(curve.terms):
            colour, style = COLOURS[place % 6], styles[(place + 1) % 3]
            _line(panel, epochs, curve.column(term), colour, label=plain(term), style=style)
        values = np.concatenate([curve.column(term) for term in curve.terms])
        values = values[np.isfinite(values)]
        if values.min() > 0 and values.max() > 30 * values.min():
            panel.set_yscale("log")


def _line(
    panel: Axes,
    x: NDArray[Any],
    y: NDArray[Any],
    colour: str,
    *,
    style: Any = "-",
    label: str | None = None,
    place: int | None = None,
) -> None:
    """`place`: of the defense among several, whose marker it gets."""
    measured = np.isfinite(y)
    look: dict[str, Any] = {"color": colour, "linestyle": style, "label": label}
    if place is not None:
        look |= {"marker": MARKERS[place], "markevery": max(1, int(measured.sum()) // 8)}
    elif measured.sum() <= 10:
        look["marker"] = "."
    panel.plot(x[measured], y[measured], **look)


def _kept(one: Diagnosed, curve: TrainingLog) -> int | None:
    """The row of the epoch whose weights were looked at; it is one of the last stage."""
    stages, epochs = curve.column("stage"), curve.column("epoch")
    rows = np.flatnonzero((stages == stages[-1]) & (epochs == one.record.weights.epoch))
    return int(rows[0]) if len(rows) and one.record.weights.checkpoint == "best" else len(epochs) - 1


def _log_rows(one: Diagnosed, curve: TrainingLog) -> list[tuple[object, ...]]:
    return [
        (one.record.id, one.record.network.defense, number, name, value)
        for number, row in enumerate(curve.rows, start=1)
        for name, value in zip(curve.columns, row, strict=True)
        if value is not None
    ]


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linestyle="", markersize=3.5, label=label)


def _class_colour(label: int) -> str:
    return CLASS_COLOURS[min(label, len(CLASS_COLOURS) - 1)]


def _named(kind: str, found: Sequence[Diagnosed]) -> str:
    return f"{kind}-{found[0].record.id}" if len(found) == 1 else kind


def _same_setting(found: Sequence[Diagnosed], kind: str) -> Diagnosis:
    """The first, after all were found to be of the same images, budget and attack."""
    grounds, told = [], []
    for one in found:
        f = one.record
        grounds.append((f.data_digest, f.norm, f.eps, f.examples, f.attack))
        told.append(f"{f.data}, {f.budget}, {f.examples} examples")
    _same(grounds, told, kind, found)
    return found[0].record


def _same(grounds: Sequence[object], told: Sequence[str], kind: str, found: Sequence[Diagnosed]) -> None:
    for ground, words, one in zip(grounds, told, found, strict=True):
        if ground != grounds[0]:
            raise BadValue(
                f"{kind} cannot be compared: {found[0].record.id} is of {told[0]}, {one.record.id} of "
                f"{words}, expected the same of all",
                "bench plot with one of them at a time",
            )
