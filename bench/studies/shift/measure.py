"""Shifts: every corruption at every severity, and the grid of poses, cell by cell, without a gradient.

The clean images are a column of their own, which all others are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from bench.studies.shift.corruptions import SEVERITIES, Corruption
from bench.studies.shift.files import CorruptedFiles, Opened, group_of
from bench.studies.shift.plan import ShiftSpec
from bench.studies.shift.record import (
    MAIN,
    SEQUENCES,
    Corrupted,
    FilesUsed,
    Mean,
    Perturbed,
    Posed,
)
from bench.studies.shift.spatial import Grid, first_wrong, in_random_pose, in_surest_pose, in_worst_pose

CLEAN, WORST = "clean", "pose_worst"
"""The columns of the images as they are, and of the worst pose of each."""


@dataclass(frozen=True)
class CorruptedAt:
    """One corruption at one severity, and what makes the images of a chunk."""

    name: str
    group: str
    severity: int
    images: Callable[[Chunk], Tensor]


class Measure(Measuring[ShiftSpec]):
    """One network under the corruptions that its images can have, and in poses."""

    def __init__(self, spec: ShiftSpec, options: Options) -> None:
        super().__init__(spec, options)
        self._opened = Opened(spec.files, self.subject.data) if spec.files is not None else None
        self._corrupted = self._computed() if spec.files is None else self._of_files(spec.files)
        self._draws = {f"pose_{draw}": draw for draw in range(spec.grid.draws if spec.grid else 0)}
        self._sequences = {} if spec.files is None else _sequences(spec.files)

    @property
    def columns(self) -> int:
        """The clean images, each corruption at each severity, each draw of a pose, and the worst."""
        poses = len(self._draws) + (self.spec.grid is not None)
        return 1 + len(self._corrupted) + len(self._sequences) + poses

    def cell(self, task: CellTask) -> Arrays:
        """What a chunk is taken for: `answers` [n], and `distance` [n] or `shown` [n] where it has them.

        Of a sequence `answers` are [n, T].
        """
        chunk = self.subject.chunk(task.number)
        known = [torch.as_tensor(held["answers"]).to(chunk.y.device) for held in task.given]
        with seeded(seed_for(self.spec.run.id, task.column, task.number), chunk.x.device):
            if task.column == CLEAN:
                answers = self._answers(chunk, chunk.x)
                return {"labels": chunk.y.cpu().numpy(), "answers": answers.cpu().numpy()}
            if task.column in self._corrupted:
                return self._of_corrupted(task.column, chunk)
            if task.column in self._sequences:
                return self._of_sequence(self._sequences[task.column], chunk)
            assert self.spec.grid is not None
            if task.column == WORST:
                return self._in_worst(self.spec.grid, chunk, known)
            return self._in_random(self.spec.grid, chunk, self._draws[task.column])

    def figures(self, cells: Cells) -> Figures:
        """Everything, and what it comes to."""
        cells.make([CLEAN])
        cells.make([*self._corrupted, *self._sequences, *self._draws], after=[CLEAN])
        if self.spec.grid is not None:
            cells.make([WORST], after=[CLEAN, *self._draws])
        labels = _column(cells, CLEAN, "labels")
        counted = [name for name, shown in self._corrupted.items() if self._counts(shown.name)]
        right = [_column(cells, name) == labels for name in counted]
        fits = {shown.name for shown in self._corrupted.values()}
        files = self.spec.files
        return Figures(
            clean=(interval_of(_column(cells, CLEAN) == labels),),
            fields={
                "corrupted": tuple(self._told(cells, name, labels) for name in self._corrupted),
                "mean": _mean(np.stack(right)) if right else None,
                "posed": None if self.spec.grid is None else self._posed(cells, self.spec.grid, labels),
                "left_out": tuple(c.name for c in self.spec.corruptions if c.name not in fits),
                "files": files and FilesUsed(files.kind, files.digest, files.lacking),
                "perturbed": tuple(self._perturbed(cells, column, labels) for column in self._sequences),
                "mean_flips": self._mean_flips(cells),
            },
        )

    def _computed(self) -> dict[str, CorruptedAt]:
        channels, seed = self.subject.data.image_shape[0], self.spec.run.training.seed

        def shown(held: Corruption, severity: int) -> CorruptedAt:
            def images(chunk: Chunk) -> Tensor:
                return held(chunk.x, severity, seed, chunk.ids.tolist())

            return CorruptedAt(held.name, held.group, severity, images)

        fitting = [held for held in self.spec.corruptions if held.fits(channels)]
        return {
            f"{held.name}_{severity}": shown(held, severity) for held in fitting for severity in SEVERITIES
        }

    def _of_files(self, files: CorruptedFiles) -> dict[str, CorruptedAt]:
        opened = self._opened
        assert opened is not None

        def shown(name: str, severity: int) -> CorruptedAt:
            def images(chunk: Chunk) -> Tensor:
                return opened.images(name, severity, chunk.ids.tolist()).to(chunk.x.device)

            return CorruptedAt(name, group_of(name), severity, images)

        named = [(name, held) for name, held in files.severities.items() if files.kind != "sequences"]
        return {
            files.column(name, severity): shown(name, severity) for name, held in named for severity in held
        }

    def _counts(self, name: str) -> bool:
        """Whether a corruption is in the mean: of files those that the benchmark's mean is over."""
        return self.spec.files is None or name in MAIN

    def _answers(self, chunk: Chunk, x: Tensor) -> Tensor:
        return self.subject.arena.verdicts(chunk, x)

    def _of_corrupted(self, column: str, chunk: Chunk) -> Arrays:
        x = self._corrupted[column].images(chunk)
        distance = (x - chunk.x).flatten(1).norm(dim=1).double()
        return {"answers": self._answers(chunk, x).cpu().numpy(), "distance": distance.cpu().numpy()}

    def _of_sequence(self, name: str, chunk: Chunk) -> Arrays:
        assert self._opened is not None
        frames = self._opened.frames(name, chunk.ids.tolist())
        answers = [self._answers(chunk, frame.to(chunk.x.device)) for frame in frames]
        return {"answers": torch.stack(answers, 1).cpu().numpy()}

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
        shown, answers = self._corrupted[column], _column(cells, column)
        return Corrupted(
            name=shown.name,
            group=shown.group,
            severity=shown.severity,
            accuracy=interval_of(answers == labels),
            refused=int((answers == REFUSED).sum()),
            distance=round(float(_column(cells, column, "distance").mean()), 4),
        )

    def _perturbed(self, cells: Cells, column: str, labels: NDArray[np.int64]) -> Perturbed:
        name, answers = self._sequences[column], _column(cells, column)
        return Perturbed(
            name=name,
            group=group_of(name),
            frames=answers.shape[1],
            flips=_mean(flipped(answers, name).T),
            accuracy=_mean(labels == answers.T),
        )

    def _mean_flips(self, cells: Cells) -> Mean | None:
        """Over the perturbations of the benchmark, each of which counts alike."""
        names = {column: name for column, name in self._sequences.items() if name in SEQUENCES}
        rates = [flipped(_column(cells, column), name).mean(1) for column, name in names.items()]
        return _mean(np.stack(rates)) if rates else None

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


def _sequences(files: CorruptedFiles) -> dict[str, str]:
    """Column -> perturbation."""
    names = files.severities if files.kind == "sequences" else ()
    return {files.column(name, 0): name for name in names}


def flipped(answers: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
    """Of answers [n, T] which differ from the frame before, [n, T - 1]; of noise, from the first.

    As Hendrycks & Dietterich (ICLR 2019) count them: noise is no sequence, its frames are draws.
    """
    before = answers[:, :1] if "noise" in name else answers[:, :-1]
    found: NDArray[np.bool_] = answers[:, 1:] != before
    return found


def _held(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Not fooled: right, or refused."""
    held: NDArray[np.bool_] = (answers == labels) | (answers == REFUSED)
    return held


def _mean(right: NDArray[Any]) -> Mean:
    """Of [k, n] answers: examples are independent of each other, the k answers to one are not.

    Right is the true class; nobody attacked, so a refusal is no success.
    """
    each = right.mean(axis=0)
    value, n = float(each.mean()), len(each)
    error = 1.96 * float(each.std(ddof=1)) / n**0.5 if n > 1 else 1.0
    return Mean(round(value, 6), round(max(0.0, value - error), 6), round(min(1.0, value + error), 6), n)
