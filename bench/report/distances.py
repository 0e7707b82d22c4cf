"""Robust accuracy over the distance to the nearest adversarial image, from attacks that look for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.names import current
from bench.core.outcomes import Outcomes
from bench.core.threat import Norm
from bench.errors import BadValue
from bench.records.record import Record
from bench.report.paper import COLOURS, COLUMN, DASHES, MARKERS, Drawing, plain, sheet
from bench.report.queries import RunOutcomes, legend_columns, legend_height, line_label, require_apart
from bench.report.setting import require_same_images

COLUMNS = (
    "run", "defense", "column", "norm", "eps", "distance", "robust", "n", "robust_accuracy",
    "area", "median_distance",
)  # fmt: skip
"""Area and median are of the whole curve, the same in all its rows; no median: empty."""

ALL = "nearest of all"
"""Where a column is named: all columns of the run that looked for the nearest, example by example."""

NEAREST = "nearest"
"""The kind of trial, as a record's spec names it, whose distances are those of the nearest mistakes found."""


@dataclass(frozen=True)
class Reach:
    """How many of n examples stand against changes up to each distance; between two steps nothing changes."""

    distance: NDArray[np.float64]  # [s], ascending from 0; the last: the radius of the run
    robust: NDArray[np.int64]  # [s] examples, of n
    n: int

    @property
    def area(self) -> float:
        """Under the curve of robust accuracy: the mean distance to a mistake, cut at the radius.

        An example that is wrong when clean is at distance zero, one that stands to the end at the radius.
        """
        return float((np.diff(self.distance) * self.robust[:-1]).sum() / self.n)

    @property
    def end(self) -> float:
        """Where nothing more happens: the radius, or where the last example fell."""
        return float(self.distance[-1 if self.robust[-1] else np.argmin(self.robust)])

    @property
    def median(self) -> float | None:
        """The distance at which no more than half of all examples stand; None: beyond the radius."""
        half = np.flatnonzero(2 * self.robust <= self.n)
        return float(self.distance[half[0]]) if len(half) else None


def reach(columns: Sequence[Outcomes], eps: Fraction) -> Reach:
    """The curve of columns together, over all examples; those wrong when clean stand nowhere.

    An example falls at the distance of the nearest mistake that any of them found; the defense is known no
    farther than the radius, because no image beyond it was judged.
    """
    first = columns[0]
    if not len(first):
        raise ValueError("no examples, so no curve")
    end = float(eps)
    each = [np.where(column.robust, np.inf, np.minimum(column.distance, end)) for column in columns]
    nearest = np.minimum.reduce(each)[first.correct]
    fell = np.sort(nearest[np.isfinite(nearest)])
    steps = np.unique(np.concatenate([[0.0], fell, [end]]))
    fallen = np.searchsorted(fell, steps, side="right")
    return Reach(steps, int(first.correct.sum()) - fallen.astype(np.int64), len(first))


def distances(runs: Sequence[RunOutcomes], width: float = COLUMN) -> Drawing:
    """A line for each column of a run whose attack looked for the nearest mistakes, and one for all of them.

    Of several runs one line each: the nearest of all that their columns found.

    Raises:
        BadValue: a run has no such column, the runs cannot be compared, or there are too many lines.
    """
    require_same_images([run.record for run in runs], "distances", any_radius=True)
    first = runs[0].record
    alone = len(runs) == 1
    lines = [line for run in runs for line in _lines(run, alone)]
    require_apart(*((1, len(lines)) if alone else (len(lines), 1)))
    figure = sheet(width, legend_height(len(lines), width) + 2.2)
    axes = figure.subplots()
    rows: list[tuple[object, ...]] = []
    told = []
    for place, (run, name, curve) in enumerate(lines):
        share = 100 * curve.robust / curve.n
        label = line_label(run, runs, name, 1)
        told.append(f"{label} ({_told_of(curve)})")
        last = int(np.searchsorted(curve.distance, curve.end))
        look: dict[str, Any] = {"marker": MARKERS[place % 7], "markevery": [last], "clip_on": False}
        look |= {"color": COLOURS[place % 7], "linestyle": DASHES[(place + place // 7) % 7]}
        axes.step(curve.distance[: last + 1], share[: last + 1], where="post", label=plain(label), **look)
        rows += _rows(run.record, name, curve)
    axes.set_xlim(0, 1.03 * max(curve.end for *_, curve in lines))
    axes.set_ylim(0, 101)
    axes.set_xlabel(_axis(Norm(first.norm)))
    axes.set_ylabel("still robust (% of all examples)")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=legend_columns(width), handlelength=3.2)
    name = f"distance-{first.run_id}" if alone else "distance"
    return Drawing(name, figure, COLUMNS, rows, _caption(runs, told))


def _lines(run: RunOutcomes, alone: bool) -> list[tuple[RunOutcomes, str, Reach]]:
    """What is drawn of a run: its columns if it is drawn alone, and all together if there are more."""
    names, eps = _columns(run), Fraction(run.record.eps)
    lines = [(run, name, reach([run.outcomes[name]], eps)) for name in names]
    if len(names) == 1:
        return lines
    together = (run, ALL, reach([run.outcomes[name] for name in names], eps))
    return [*lines, together] if alone else [together]


def _caption(runs: Sequence[RunOutcomes], told: Sequence[str]) -> str:
    first = runs[0].record
    radii = {Fraction(run.record.eps): run.record.budget for run in runs}
    ends = " and ".join(radii[eps] for eps in sorted(radii))
    return (
        f"Share of all examples still robust against the distance to the nearest adversarial image found: "
        f"{'; '.join(told)}. {first.data}, n = {first.examples:,}; lines end where nothing stands, or at the "
        f"radius of the run, {ends}: beyond it nothing was judged."
    )


def _told_of(curve: Reach) -> str:
    median = f"> {curve.distance[-1]:.4g}" if curve.median is None else f"{curve.median:.4g}"
    return f"median {median}, area {curve.area:.4g}"


def _axis(norm: Norm) -> str:
    return "values changed (L0)" if norm is Norm.L0 else f"{norm.value} distance in pixel units"


def _columns(run: RunOutcomes) -> list[str]:
    record = run.record
    trials: Sequence[Mapping[str, Any]] = record.spec.get("suite", {}).get("trials", ())
    sought = {trial["column"] for trial in trials if current(trial.get("is", "")) == NEAREST}
    computed = [column.name for column in record.columns if column.name in run.outcomes]
    found = [name for name in computed if name in sought]
    if not found:
        raise BadValue(
            f"run {record.run_id} of {record.defense} has no column whose attack looked for the nearest "
            f"mistake ({', '.join(computed) or 'none'}), expected one that did, at a radius that few survive",
            f"bench run --attack fmn --norm {record.norm} --eps {_wide(record)} --defense {record.defense}",
        )
    return found


def _wide(record: Record) -> str:
    """A radius at which few networks stand."""
    return {"Linf": "1", "L2": "10", "L1": "100", "L0": "100"}[record.norm]


def _rows(record: Record, column: str, curve: Reach) -> list[tuple[object, ...]]:
    who = record.run_id, record.defense, column, record.norm, record.eps
    median = "" if curve.median is None else curve.median
    return [
        (*who, float(far), int(left), curve.n, left / curve.n, curve.area, median)
        for far, left in zip(curve.distance, curve.robust, strict=True)
    ]
