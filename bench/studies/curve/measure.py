"""Curves, point by point: each is a column, and one that goes on from another is given its cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.encoding import describe
from bench.core.outcomes import Outcomes, concatenate
from bench.core.survival import survival
from bench.core.threat import format_eps
from bench.errors import BadValue
from bench.evaluate.adaptive import climbs_own_loss
from bench.evaluate.engine import Arena
from bench.records.record import Interval
from bench.records.store import Arrays
from bench.runner.options import Options
from bench.runner.summary import interval_of
from bench.studies.cells import Cells, CellTask
from bench.studies.curve.plan import CurveSpec
from bench.studies.curve.points import BROKEN, measure, signs, whole_box
from bench.studies.curve.record import CurvePoint
from bench.studies.measuring import Figures, Measuring


class Measure(Measuring[CurveSpec]):
    """One network along one axis."""

    def __init__(self, spec: CurveSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.subject.lay_out()  # now: so no verdict depends on the cells before it
        self.points = spec.points(self.subject.data.image_shape)
        self._arenas: dict[str, Arena] = {}

    @property
    def columns(self) -> int:
        """One for each point."""
        return len(self.points)

    def cell(self, task: CellTask) -> Arrays:
        """What the attacks of a point do to a chunk."""
        point = self.points[int(task.column)]
        before = Outcomes(**task.given[0]) if task.given else None
        arena = self._arenas.setdefault(point.budget.label, self.subject.under(point.budget))
        cell = measure(arena, point, self.subject.chunk(task.number), self.spec.run.id, before)
        if cell.outcomes is None:
            label = self.spec.run.training.named.label
            raise BadValue(f"an attack failed on {label} ({cell.error})", "--attack with another name")
        return cell.outcomes.arrays()

    def figures(self, cells: Cells) -> Figures:
        """Each point in turn; radii end where at most 1 % stand, unless they were named."""
        spec, found = self.spec, list[Outcomes]()
        for place, point in enumerate(self.points):
            cells.make([_column(place)], after=[_column(place - 1)] if point.goes_on else ())
            found.append(concatenate([Outcomes(**held) for held in cells.read(_column(place))]))
            if spec.axis == "eps" and spec.at is None and found[-1].robust.mean() <= BROKEN:
                break
        clean = interval_of(found[0].correct)
        box = whole_box(spec.run.budget.norm, self.subject.data.image_shape)
        robust = [outcomes.robust for outcomes in found]
        trials = spec.run.suite.trials
        if self.subject.deployed.adaptive_loss is None:
            trials = tuple(trial for trial in trials if not climbs_own_loss(trial.attack))
        told = _of_queries(found[0]) if spec.axis == "queries" else self._told(found, cells)
        return Figures(
            clean=(clean,),
            fields={
                "axis": spec.axis,
                "attacks": tuple(describe(trial.attack) for trial in trials),
                "knowledge": trials[0].knowledge.label,
                "points": tuple(told),
                "findings": tuple(signs(spec.axis, self.points[: len(found)], robust, box)),
                "whole_box": float(box) if spec.axis == "eps" else None,
            },
        )

    def _told(self, found: Sequence[Outcomes], cells: Cells) -> list[CurvePoint]:
        unbroken = found[0].correct
        clean = interval_of(unbroken)
        told = [CurvePoint("0", 0.0, clean, clean, 0.0, 0.0, 0.0)]
        for place, (point, outcomes) in enumerate(zip(self.points, found, strict=False)):
            unbroken = unbroken & outcomes.robust
            told.append(
                CurvePoint(
                    value=format_eps(point.value),
                    at=float(point.value),
                    robust=interval_of(outcomes.robust),
                    unbroken=interval_of(unbroken),
                    forwards=round(float(outcomes.forwards.mean()), 3),
                    backwards=round(float(outcomes.backwards.mean()), 3),
                    seconds=round(cells.seconds(_column(place)), 3),
                )
            )
        return told


def _column(place: int) -> str:
    return f"{place:02d}"


def _of_queries(outcomes: Outcomes) -> list[CurvePoint]:
    """Every number of queries at which an example fell, from one attack."""
    held = survival(outcomes)
    return [
        CurvePoint(str(spent), float(spent), _share(left, held.n), _share(left, held.n), None, None, None)
        for spent, left in zip(held.queries.tolist(), held.robust.tolist(), strict=True)
    ]


def _share(count: int, n: int) -> Interval:
    some: NDArray[np.bool_] = np.arange(n) < count
    return interval_of(some)
