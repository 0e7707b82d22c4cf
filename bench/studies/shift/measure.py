"""Shifts: every corruption at every severity, and the grid of poses, cell by cell, without a gradient.

The clean images are a column of their own, which all others are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.attacks.streams import seeded
from bench.core.outcomes import REFUSED
from bench.core.seeds import seed_for
from bench.evaluate.engine import Chunk
from bench.records.store import Arrays
from bench.runner.options import Options
from bench.runner.summary import interval_of
from bench.studies.cells import Cells, CellTask
from bench.studies.measuring import Figures, Measuring
from bench.studies.shift.corruptions import SEVERITIES
from bench.studies.shift.plan import ShiftSpec
from bench.studies.shift.record import Corrupted, Mean, Posed
from bench.studies.shift.spatial import Grid, first_wrong, in_random_pose, in_surest_pose, in_worst_pose

CLEAN, WORST = "clean", "pose_worst"
"""The columns of the images as they are, and of the worst pose of each."""


class Measure(Measuring[ShiftSpec]):
    """One network under the corruptions that its images can have, and in poses."""

    def __init__(self, spec: ShiftSpec, options: Options) -> None:
        super().__init__(spec, options)
        channels = self.subject.data.image_shape[0]
        fitting = [c for c in spec.corruptions if c.fits(channels)]
        self._corrupted = {f"{c.name}_{severity}": (c, severity) for c in fitting for severity in SEVERITIES}
        self._draws = {f"pose_{draw}": draw for draw in range(spec.grid.draws if spec.grid else 0)}

    @property
    def columns(self) -> int:
        """The clean images, each corruption at each severity, each draw of a pose, and the worst."""
        return 1 + len(self._corrupted) + len(self._draws) + (self.spec.grid is not None)

    def cell(self, task: CellTask) -> Arrays:
        """What a chunk is taken for: `answers` [n], and `distance` [n] or `shown` [n] where it has them."""
        chunk = self.subject.chunk(task.number)
        known = [torch.as_tensor(held["answers"]).to(chunk.y.device) for held in task.given]
        with seeded(seed_for(self.spec.run.id, task.column, task.number), chunk.x.device):
            if task.column == CLEAN:
                answers = self._answers(chunk, chunk.x)
                return {"labels": chunk.y.cpu().numpy(), "answers": answers.cpu().numpy()}
            if task.column in self._corrupted:
                return self._of_corrupted(task.column, chunk)
            assert self.spec.grid is not None
            if task.column == WORST:
                return self._in_worst(self.spec.grid, chunk, known)
            return self._in_random(self.spec.grid, chunk, self._draws[task.column])

    def figures(self, cells: Cells) -> Figures:
        """Everything, and what it comes to."""
        cells.make([CLEAN])
        cells.make([*self._corrupted, *self._draws], after=[CLEAN])
        if self.spec.grid is not None:
            cells.make([WORST], after=[CLEAN, *self._draws])
        labels = _column(cells, CLEAN, "labels")
        right = [_column(cells, name) == labels for name in self._corrupted]
        fits = {corruption.name for corruption, _ in self._corrupted.values()}
        return Figures(
            clean=(interval_of(_column(cells, CLEAN) == labels),),
            fields={
                "corrupted": tuple(self._told(cells, name, labels) for name in self._corrupted),
                "mean": _mean(np.stack(right)) if right else None,
                "posed": None if self.spec.grid is None else self._posed(cells, self.spec.grid, labels),
                "left_out": tuple(c.name for c in self.spec.corruptions if c.name not in fits),
            },
        )

    def _answers(self, chunk: Chunk, x: Tensor) -> Tensor:
        return self.subject.arena.verdicts(chunk, x)

    def _of_corrupted(self, column: str, chunk: Chunk) -> Arrays:
        corruption, severity = self._corrupted[column]
        x = corruption(chunk.x, severity, self.spec.run.training.seed, chunk.ids.tolist())
        distance = (x - chunk.x).flatten(1).norm(dim=1).double()
        return {"answers": self._answers(chunk, x).cpu().numpy(), "distance": distance.cpu().numpy()}

    def _in_random(self, grid: Grid, chunk: Chunk, draw: int) -> Arrays:
        x = in_random_pose(grid, chunk.x, chunk.ids.tolist(), self.spec.run.training.seed, draw)
        return {"answers": self._answers(chunk, x).cpu().numpy()}

    def _in_worst(self, grid: Grid, chunk: Chunk, known: Sequence[Tensor]) -> Arrays:
        """`known` [n] are the answers to the clean images and to each draw, in whose poses none is shown."""
        referee = self.subject.arena.referee
        if self.subject.deployed.randomized:
            x, shown = in_surest_pose(referee, grid, chunk.x, chunk.y, known)
            answers = first_wrong([*known, self._answers(chunk, x)], chunk.y)
        else:
            answers, shown = in_worst_pose(referee, grid, chunk.x, chunk.y, known)
        return {"answers": answers.cpu().numpy(), "shown": shown.cpu().numpy()}

    def _told(self, cells: Cells, column: str, labels: NDArray[np.int64]) -> Corrupted:
        corruption, severity = self._corrupted[column]
        answers = _column(cells, column)
        return Corrupted(
            name=corruption.name,
            group=corruption.group,
            severity=severity,
            accuracy=interval_of(answers == labels),
            refused=int((answers == REFUSED).sum()),
            distance=round(float(_column(cells, column, "distance").mean()), 4),
        )

    def _posed(self, cells: Cells, grid: Grid, labels: NDArray[np.int64]) -> Posed:
        drawn = np.stack([_column(cells, name) for name in self._draws])
        stood = np.logical_and.reduce(_held(drawn, labels))
        side = min(self.subject.data.image_shape[1:])
        return Posed(
            poses=len(grid.poses(side)),
            degrees=grid.degrees,
            pixels=grid.farthest(side),
            draws=grid.draws,
            random=_mean(drawn == labels),
            worst_of_draws=interval_of(stood),
            worst=interval_of(_held(_column(cells, WORST), labels)),
            shown=round(float(_column(cells, WORST, "shown").mean()), 3),
        )


def _column(cells: Cells, column: str, name: str = "answers") -> NDArray[Any]:
    """One array [n] of a column, over all chunks."""
    return np.concatenate([held[name] for held in cells.read(column)])


def _held(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Not fooled: right, or refused."""
    held: NDArray[np.bool_] = (answers == labels) | (answers == REFUSED)
    return held


def _mean(right: NDArray[np.bool_]) -> Mean:
    """Of [k, n] answers: examples are independent of each other, the k answers to one are not.

    Right is the true class; nobody attacked, so a refusal is no success.
    """
    each = right.mean(axis=0)
    value, n = float(each.mean()), len(each)
    error = 1.96 * float(each.std(ddof=1)) / n**0.5 if n > 1 else 1.0
    return Mean(round(value, 6), round(max(0.0, value - error), 6), round(min(1.0, value + error), 6), n)
