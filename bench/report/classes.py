"""Accuracy of each class, clean and in the worst case: bars for one defense, a heat map for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bench.core.metrics import Proportion, proportion
from bench.core.outcomes import worst_case
from bench.report.names import pretty, told_apart
from bench.report.paper import COLOURS, COLUMN, PAGE, Drawing, folded, plain, sheet
from bench.report.queries import RunOutcomes
from bench.report.setting import require_alike, setting, suite_label

COLUMNS = ("run", "defense", "seed", "class", "state", "accuracy", "low", "high", "right", "n")
"""Of the CSV: a line for each class and state (clean, robust) of each run, and for all classes."""

ALL = "all"
"""What stands for all classes together."""

Shares = dict[tuple[str, str], Proportion]  # (class, state), of classes that have an example


def classes(runs: Sequence[RunOutcomes], width: float | None = None) -> Drawing:
    """Clean and robust accuracy of each class of one run, or robust accuracy of several.

    Raises:
        BadValue: the runs cannot be compared.
    """
    require_alike([run.record for run in runs])
    shares = [_shares(run) for run in runs]
    names = list(dict.fromkeys(name for found in shares for name, _ in found))
    first = runs[0].record
    figure = _bars(shares[0], names, width) if len(runs) == 1 else _map(runs, shares, names, width)
    rows = [
        (
            *(run.record.run_id, run.record.defense, run.record.seed, name, state),
            *(share.value, share.low, share.high, share.count, share.n),
        )
        for run, found in zip(runs, shares, strict=True)
        for (name, state), share in found.items()
    ]
    name = f"classes-{first.run_id}" if len(runs) == 1 else "classes"
    return Drawing(name, figure, COLUMNS, rows, _caption(runs))


def _shares(run: RunOutcomes) -> Shares:
    """The share of each class and of all that is right when clean, and that every column leaves standing."""
    columns = list(run.outcomes.values())
    labels = columns[0].labels
    states = {"clean": columns[0].correct, "robust": worst_case(columns)}
    found: Shares = {}
    for label in np.unique(labels):
        found |= {(str(label), state): proportion(held[labels == label]) for state, held in states.items()}
    return found | {(ALL, state): proportion(held) for state, held in states.items()}


def _bars(shares: Shares, names: Sequence[str], width: float | None) -> Figure:
    figure = sheet(width or COLUMN, 2.2)
    axes = figure.subplots()
    at = np.arange(len(names), dtype=float)
    at[-1] += 0.5  # a gap before all of them
    clean, robust = ([shares[name, state] for name in names] for state in ("clean", "robust"))
    axes.bar(at, _percent(clean), 0.75, facecolor="white", edgecolor=COLOURS[0], hatch="/////", linewidth=0.6)
    axes.bar(at, _percent(robust), 0.75, facecolor=COLOURS[0], edgecolor=COLOURS[0], linewidth=0.6)
    axes.vlines(at, *(_ends(robust)), color="black", linewidth=0.8)
    axes.set_xticks(at, names, rotation=0 if len(names) <= 12 else 90)
    axes.set_ylim(0, 101)
    axes.set_xlabel("class")
    axes.set_ylabel("accuracy (%)")
    axes.grid(axis="y")
    axes.tick_params(axis="x", length=0)
    handles = [
        Patch(facecolor="white", edgecolor=COLOURS[0], hatch="/////", linewidth=0.6, label="clean"),
        Patch(facecolor=COLOURS[0], label="robust"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _map(
    runs: Sequence[RunOutcomes], shares: Sequence[Shares], names: Sequence[str], width: float | None
) -> Figure:
    fits = len(names) <= 12
    wide = width or PAGE
    figure = sheet(wide, max(1.5, 0.8 + 0.22 * len(runs)))
    axes = figure.subplots()
    values = np.array([[_value(found, name) for name in names] for found in shares])
    shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    axes.set_yticks(range(len(runs)), [plain(folded(name, 26)) for name in _labels(runs)])
    axes.set_xticks(range(len(names)), names, rotation=0 if fits else 90)
    axes.set_xlabel("class")
    axes.tick_params(length=0)
    axes.axvline(len(names) - 1.5, color="white", linewidth=2)
    axes.spines[:].set_visible(False)
    if fits:
        _numbers(axes, values, "{:.1f}" if wide == PAGE else "{:.0f}")
    bar: Any = figure.colorbar(shown, ax=axes, pad=0.02, aspect=max(8, 3 * len(runs)))
    bar.set_label("robust accuracy (%)")
    bar.outline.set_linewidth(0.6)
    return figure


def _numbers(axes: Axes, values: NDArray[np.float64], form: str) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "black" if value > 60 else "white"
            axes.text(column, row, form.format(value), ha="center", va="center", size=7, color=colour)


def _value(shares: Shares, name: str) -> float:
    return 100 * shares[name, "robust"].value if (name, "robust") in shares else float("nan")


def _labels(runs: Sequence[RunOutcomes]) -> list[str]:
    records = [run.record for run in runs]
    return told_apart(
        [pretty(record.defense) for record in records],
        [f", seed {record.seed}" for record in records],
        [f", {record.recipe}" for record in records],
        [f", {record.run_id[:6]}" for record in records],
    )


def _percent(shares: Sequence[Proportion]) -> list[float]:
    return [100 * share.value for share in shares]


def _ends(shares: Sequence[Proportion]) -> tuple[list[float], list[float]]:
    return [100 * share.low for share in shares], [100 * share.high for share in shares]


def _caption(runs: Sequence[RunOutcomes]) -> str:
    first = runs[0].record
    counts = np.unique(next(iter(runs[0].outcomes.values())).labels, return_counts=True)[1]
    few = f"{counts.min()} to {counts.max()} examples in a class"
    lines = "; lines: 95 % Wilson intervals" if len(runs) == 1 else ""
    what = "Clean and robust" if len(runs) == 1 else "Robust"
    return (
        f"{what} accuracy of {', '.join(_labels(runs))} by class (worst case of {suite_label(first)}), {few}"
        f"{lines}. {setting(first).label}."
    )
