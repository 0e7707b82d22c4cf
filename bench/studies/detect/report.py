"""Detections as tables and as ROC curves; a higher score speaks for what is to be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from bench.core import detection as metrics
from bench.errors import BadValue
from bench.records.record import Interval, train_budget_of
from bench.records.store import write_atomically
from bench.report.paper import COLOURS, DASHES, GRAY, PAGE, Drawing, paper, plain, sheet
from bench.report.paper import write as write_figure
from bench.report.render import Cell, ColumnKind, Table, TableColumn, csv, markdown
from bench.studies.detect.record import Area, Detected, Detection, Scores, Separation

WITHOUT = "none"
"""The row of the network without any detector."""

TASKS: Mapping[tuple[str, str], str] = {
    ("adversarial", "all"): "adversarial",
    ("adversarial", "successes"): "successes",
    ("wrong", "all"): "wrong",
}
"""(task, images) -> what its columns are called."""

_KEYS = (
    TableColumn("detection", "detection", only_csv=True),
    TableColumn("defense", "defense", only_csv=True),
    TableColumn("architecture", "architecture", only_csv=True),
    TableColumn("data", "data", only_csv=True),
    TableColumn("norm", "norm", only_csv=True),
    TableColumn("eps", "eps", only_csv=True),
    TableColumn("n", "n", ColumnKind.COUNT, only_csv=True),
    TableColumn("seed", "seed", ColumnKind.COUNT, only_csv=True),
)


def tables(found: Sequence[Detection]) -> list[Table]:
    """Of each detection both tables."""
    return [table for one in found for table in (separation_table(one), guard_table(one))]


def write(found: Sequence[Detected], folder: Path) -> list[Path]:
    """All tables to read, their rows to load, and the curves of each as a picture and for print."""
    records = [one.record for one in found]
    files = {
        "detection.md": "\n".join(map(markdown, tables(records))),
        "detection.csv": csv(_stacked([separation_table(one) for one in records])),
        "joint_accuracy.csv": csv(_stacked([guard_table(one) for one in records])),
    }
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    drawn: list[Path] = []
    with paper():
        for one in found:
            drawing = roc_curves(one)
            picture, numbers, caption = write_figure(drawing, folder, "png")
            drawn += [numbers, picture, write_figure(drawing, folder, "pdf")[0], caption]
    return [*(folder / name for name in files), *drawn]


def _stacked(found: Sequence[Table]) -> Table:
    """The rows of tables with the same columns as one table."""
    return replace(found[0], rows=tuple(row for table in found for row in table.rows))


def separation_table(found: Detection) -> Table:
    """A row for each attack and detector, with columns for each task; areas and rates in %."""
    measured: list[TableColumn] = []
    for name in TASKS.values():
        less = name == "successes"  # told by their AUROC alone where room is short
        measured += [
            TableColumn(f"{name}: positives", f"{name}_positives", ColumnKind.COUNT, only_csv=True),
            TableColumn(f"{name}: negatives", f"{name}_negatives", ColumnKind.COUNT, only_csv=True),
            TableColumn(f"{name}: AUROC", f"{name}_auroc", ColumnKind.INTERVAL, dispensable=3 if less else 0),
            TableColumn(f"{name}: AUPR", f"{name}_aupr", ColumnKind.SHARE, dispensable=4 if less else 1),
            TableColumn(
                f"{name}: AUPR of negatives", f"{name}_aupr_negatives", ColumnKind.SHARE, only_csv=True
            ),
            TableColumn(f"{name}: FPR95", f"{name}_fpr95", ColumnKind.SHARE, dispensable=4 if less else 2),
        ]
    columns = (*_KEYS, TableColumn("attack", "attack"), TableColumn("detector", "detector"), *measured)
    rows: list[tuple[Cell, ...]] = []
    for attacked in found.attacks:
        for guard in found.guards:
            cells: list[Cell] = []
            for task, images in TASKS:
                cells += _cells(found.separation(guard.detector, attacked.name, task, images))
            rows.append((*_keys(found), attacked.name, guard.detector, *cells))
    notes = (
        "adversarial: adversarial images are to be found among clean ones; successes: the same, of those "
        "that fooled the network; wrong: wrong answers are to be found among right ones, clean and "
        "adversarial together (TLA's protocol, after Zheng & Hong, NeurIPS 2018)",
        "FPR95: the share of negatives flagged where 95 % of the positives are found; chance has AUROC 50; a "
        "higher score always speaks for what is to be found",
        "intervals of AUROC know that an image and its adversarial twin are not independent "
        "(Obuchowski 1997)",
        *(f"without {name}: {why}" for name, why in found.left_out.items()),
    )
    suite = f"{found.suite}{' (custom)' if found.custom else ''}"
    return Table(f"{found.network.defense} under {suite}", columns, tuple(rows), _facts(found), notes)


def guard_table(found: Detection) -> Table:
    """A row for each detector with its threshold: joint accuracies in %, right or refused under attack."""
    attacks = [attacked.name for attacked in found.attacks]
    rate = f"{100 * float(Fraction(found.false_positives)):g} %"
    columns = (
        *_KEYS,
        TableColumn("detector", "detector"),
        TableColumn("refused, clean", "clean_refused", ColumnKind.INTERVAL, dispensable=1),
        TableColumn("clean", "clean", ColumnKind.INTERVAL),
        *(TableColumn(name, name, ColumnKind.INTERVAL, dispensable=2) for name in attacks),
        TableColumn("aware", "aware", ColumnKind.INTERVAL),
        TableColumn("worst case", "worst_case", ColumnKind.INTERVAL),
        TableColumn("note", "note"),
    )
    robust = [attacked.robust for attacked in found.attacks]
    rows: list[tuple[Cell, ...]] = [
        (*_keys(found), WITHOUT, None, found.network.clean, *robust, None, None, None),
    ]
    for guard in found.guards:
        note = None if guard.left_out is None else f"aware attack left out: {guard.left_out}"
        held = [guard.robust[name] for name in attacks]
        cells = (guard.clean_refused, guard.clean, *held, guard.aware, guard.worst, note)
        rows.append((*_keys(found), guard.detector, *cells))
    notes = (
        _thresholds(found, rate),
        "joint accuracy over all examples: right and accepted when clean, and under attack right or refused; "
        "an attack succeeds where the answer is wrong and accepted",
        f"aware: {found.aware_attack}; against each detector by itself",
        *_warnings(found),
        *_claim(found),
    )
    return Table(f"joint accuracy at {rate} false positives", columns, tuple(rows), (), notes)


CURVE = ("detection", "defense", "attack", "task", "detector", "false_positives", "true_positives")
"""Columns of the numbers beside the ROC curves."""


def roc_curves(one: Detected, width: float = PAGE) -> Drawing:
    """A panel for each task and attack with a line for each detector; false positives on a log scale."""
    found, sets = one.record, one.sets
    attacks = [attacked.name for attacked in found.attacks]
    if len(found.guards) > len(COLOURS) or len(attacks) > 4:
        raise BadValue(
            f"{len(found.guards)} detectors and {len(attacks)} attacks are more than one figure can show, "
            f"expected at most {len(COLOURS)} and 4"
        )
    tasks = {"adversarial": "adversarial images", "wrong": "wrong answers"}
    figure = sheet(width, 2.2 * len(tasks) + 0.3)
    grid = figure.subplots(len(tasks), len(attacks), sharex=True, sharey=True, squeeze=False)
    rows: list[tuple[object, ...]] = []
    for down, (task, what) in enumerate(tasks.items()):
        for across, attack in enumerate(attacks):
            axes = grid[down][across]
            rows += _panel(axes, found, sets, attack, task)
            if down == 0:
                axes.set_title(plain(attack))
            if across == 0:
                axes.set_ylabel(f"{what} found (%)")
    grid[-1][(len(attacks) - 1) // 2].set_xlabel("false positives (share)")  # once: it is wide
    drawn = [axes.get_legend_handles_labels() for axes in grid.flat]
    handles = {label: line for pair in drawn for line, label in zip(*pair, strict=True)}
    names, lines = list(handles), list(handles.values())
    across = 4 if width == PAGE else 3
    figure.legend(lines, names, loc="outside lower center", ncols=across, handlelength=2.4)
    caption = (
        f"What detectors before {found.network.defense} find, against what they flag in error; white-box "
        "attacks that no detector was fitted on; numbers: AUROC in %, in the order of the legend; dotted: "
        "false positives at the threshold. "
        f"{found.data}, {found.norm} {found.eps}, n = {found.examples:,}."
    )
    return Drawing(f"roc-{found.id}", figure, CURVE, rows, caption)


def _panel(
    axes: Any, found: Detection, sets: Mapping[str, Scores], attack: str, task: str
) -> list[tuple[object, ...]]:
    """The curves of all detectors, and their points as rows."""
    rows: list[tuple[object, ...]] = []
    least = 1 / found.examples
    for place, guard in enumerate(found.guards):
        area = found.separation(guard.detector, attack, task).auroc
        if area is None:
            continue
        curve, colour = metrics.roc(*_split(sets, attack, task, place)), COLOURS[place]
        axes.plot(
            np.maximum(curve.false_positives, least),
            100 * curve.true_positives,
            color=colour,
            linestyle=DASHES[place],
            label=guard.detector,
        )
        at = (1.03, 0.95 - 0.135 * place)  # beside the panel, where no curve comes by
        axes.text(*at, f"{100 * area.value:.1f}", transform=axes.transAxes, size=7, color=colour, va="center")
        rows += [
            (found.id, found.network.defense, attack, task, guard.detector, float(false), float(true))
            for false, true in zip(curve.false_positives, curve.true_positives, strict=True)
        ]
    rate = float(Fraction(found.false_positives))
    axes.axvline(rate, color=GRAY, linewidth=0.8, linestyle=(0, (1, 1)))
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())  # else figures of a narrow range lie over each other
    axes.set_xlim(least, 1)
    axes.set_ylim(0, 101)
    axes.grid()
    return rows


def _split(
    sets: Mapping[str, Scores], attack: str, task: str, place: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of positives and of negatives."""
    clean, adversarial = sets["clean"], sets[attack]
    if task == "adversarial":
        return adversarial.scores[place], clean.scores[place]
    scores = np.concatenate([clean.scores[place], adversarial.scores[place]])
    right = np.concatenate([clean.classes == clean.labels, adversarial.classes == adversarial.labels])
    return scores[~right], scores[right]


def _cells(one: Separation) -> tuple[Cell, ...]:
    area = None if one.auroc is None else _as_share(one.auroc, one)
    return one.positives, one.negatives, area, one.aupr, one.aupr_negatives, one.fpr95


def _as_share(area: Area, one: Separation) -> Interval:
    """Tables write an area as they write a share."""
    return Interval(area.value, area.low, area.high, one.positives, one.positives + one.negatives)


def _thresholds(found: Detection, rate: str) -> str:
    """Where thresholds come from, and what the rate is worth therefore."""
    chosen = f"thresholds refuse at most {rate} of {found.validation_examples:,} clean"
    others = "others trained the network, and may have trained it on our validation images"
    if found.chosen_on == "test":
        return f"{chosen} test images, none of which is judged here: {others}"
    if found.chosen_on == "training":
        return (
            f"warn: {chosen} validation images, but {others}: of images that it never saw they may refuse "
            "more; with fewer --examples, test images that are left choose the thresholds"
        )
    return f"{chosen} validation images; the test images choose nothing"


def _warnings(found: Detection) -> list[str]:
    """What a reviewer should not miss: unkept rates, informed attackers who walk past, what detectors add."""
    notes = [
        f"warn: {guard.detector} refuses {100 * guard.clean_refused.value:.1f} % of the clean test images, "
        f"and {100 * guard.validation_refused.value:.1f} % of those that its threshold was chosen on"
        for guard in found.guards
        if guard.clean_refused.low > guard.validation_refused.high
    ]
    for guard in found.guards:
        least = min(guard.robust.values(), key=lambda one: one.count)
        if guard.aware is not None and guard.aware.high < least.low:
            notes.append(
                f"warn: {guard.detector} leaves {100 * least.value:.1f} % under attacks that do not know it, "
                f"and {100 * guard.aware.value:.1f} % under the one that does"
            )
    if found.guards:
        alone = min((attacked.robust for attacked in found.attacks), key=lambda one: one.count)
        most = max(guard.worst.count for guard in found.guards)
        best = [guard for guard in found.guards if guard.worst.count == most]
        names = ", ".join(guard.detector for guard in best) if len(best) < len(found.guards) else "every one"
        notes.append(
            f"without a detector the strongest of these attacks leaves {100 * alone.value:.1f} %; the best "
            f"worst case with one is {100 * best[0].worst.value:.1f} % ({names})"
        )
    return notes


def _claim(found: Detection) -> list[str]:
    claim = found.claim
    if claim is None:
        return []
    ours = found.separation(claim.detector, claim.attack, claim.task).auroc
    said = "none, for want of wrong answers" if ours is None else f"{100 * ours.value:.2f}"
    note = (
        f"published AUROC, task wrong: {100 * claim.auroc:.2f} ({claim.source}); here, {claim.detector} on "
        f"{claim.attack}: {said}"
    )
    return [note + (f"; reconstruction: {claim.reconstruction}" if claim.reconstruction else "")]


def _facts(found: Detection) -> tuple[tuple[str, str], ...]:
    trained = found.training
    inside = train_budget_of(found.spec.get("run", {}), trained)
    epoch = f", {trained.checkpoint} epoch {trained.epoch} of {trained.epochs}" if trained.epochs else ""
    attacks = "; ".join(f"{one.name} = {one.attack}" for one in found.attacks)
    detectors = "; ".join(f"{guard.detector} = {guard.fitted}" for guard in found.guards)
    return (
        ("defense", found.network.defense),
        ("paper", found.network.paper),
        ("data", f"{found.data}, {found.examples} test examples"),
        ("budget", found.budget),
        ("attacks", f"{attacks}; white-box, to the last step, unseen by every detector"),
        ("detectors", f"fitted on {found.fit_examples:,} clean training images; {detectors}"),
        ("architecture", found.network.architecture),
        ("recipe", f"{trained.recipe}{epoch}"),
        *([("trained at", inside.label)] if inside and inside.label != found.budget else []),
        ("seed", str(found.seed)),
        ("detection", found.id),
    )


def _keys(found: Detection) -> tuple[Cell, ...]:
    network = found.network
    ground = (found.data, found.norm, found.eps, found.examples, found.seed)
    return (found.id, network.defense, network.architecture, *ground)
