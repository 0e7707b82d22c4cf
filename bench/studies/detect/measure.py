"""Detectors on a deployed defense: fitted, given thresholds, shown attacks, and attacked, cell by cell.

A column is a set of images with its scores, or what the attacker does who knows one detector; that one is
given the scores of the clean images that thresholds are chosen on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from bench.api import Trial
from bench.attacks.streams import seeded
from bench.core.detection import threshold_at
from bench.core.outcomes import Outcomes, concatenate
from bench.core.seeds import seed_for
from bench.data.dataset import Dataset, Images, test_subset
from bench.errors import AccessDenied, BadData, BadValue
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.look import Lacking
from bench.evaluate.unstopped import adversarial_images
from bench.records.store import Arrays
from bench.runner.options import Options
from bench.runner.summary import interval_of
from bench.studies.cells import Cells, CellTask
from bench.studies.detect.fields import Found, fields_of
from bench.studies.detect.fitting import Fitting, Suspicion
from bench.studies.detect.guarded import Watch, climbable, guarded
from bench.studies.detect.plan import DetectSpec
from bench.studies.detect.record import SCORES, Calibration, Scores, pack
from bench.studies.measuring import Figures, Measuring
from bench.suites.detection import AWARE

VALIDATION, CLEAN = "validation", "clean"
"""The columns of images that no attack has made: those that choose thresholds, those that are judged."""

REFUSED_AT_LEAST = 5
"""So many images a threshold may refuse of those that it is chosen on, or they are too few to choose by."""


class Measure(Measuring[DetectSpec]):
    """One network with its detectors, which were fitted on it."""

    def __init__(self, spec: DetectSpec, options: Options) -> None:
        super().__init__(spec, options)
        self.subject.net.eval().requires_grad_(False)
        self.subject.arena.access(spec.unseen[0].knowledge)  # lays the weights out now
        self.fitted = Fitting(self.subject, spec.protocol, options)
        self.chosen_on, self.calibration = self._for_thresholds()
        self.watches: dict[str, Suspicion] = self.fitted.watches()
        self._guarded: dict[str, Arena] = {}  # by the detector that stands before the defense

    def check(self, data: Dataset) -> None:
        """There must be clean images to choose thresholds by."""
        if not len(data.validation):
            raise BadData(
                f"{data.name} has {len(data.train)} training images and none to hold out, expected two of a "
                "class at least, for thresholds are chosen on some that no detector was fitted on"
            )

    @property
    def columns(self) -> int:
        """Clean images, those of each attack, and the attacker who knows each detector."""
        return 1 + len(self.spec.unseen) + len(self.watches)

    def cell(self, task: CellTask) -> Arrays:
        """The scores of a set of images, or the outcomes of an attack on a detector."""
        for name in self.watches:
            if task.column == _aware(name):
                return self._attacked_with(name, Scores(**task.given[0]), task.number)
        seed = seed_for(self.spec.run.id, "scores", task.column, task.number)
        with seeded(seed, self.subject.device):  # for a randomized defense
            return self._set(task).arrays()

    def figures(self, cells: Cells) -> Figures:
        """Score all images, choose thresholds, attack every detector that has a slope."""
        attacks = [trial.column for trial in self.spec.unseen]
        cells.make([VALIDATION], whole=True)
        cells.make([CLEAN, *attacks])
        sets = {column: _joined(cells.read(column)) for column in (VALIDATION, CLEAN, *attacks)}
        closed = {name: why for name in self.watches if (why := self._closed(name)) is not None}
        reached = [name for name in self.watches if name not in closed]
        cells.make([_aware(name) for name in reached], after=[VALIDATION])
        content = pack(sets)
        found = Found(
            subject=self.subject,
            sets=sets,
            thresholds={name: self._threshold(name, sets[VALIDATION]) for name in self.watches},
            aware={**closed, **{name: _told(cells.read(_aware(name))) for name in reached}},
            left_out=self.fitted.left_out,
            chosen_on=self.chosen_on,
        )
        clean = interval_of(sets[CLEAN].classes == sets[CLEAN].labels)
        return Figures((clean,), fields_of(self.spec, found, content), {SCORES: content})

    def _for_thresholds(self) -> tuple[Calibration, Images]:
        """Clean images that neither the network nor a detector was fitted on, and that are not judged.

        What we hold out for validation is what others trained their network on. Nobody trained on test
        images, so the last ones of the shuffle choose its thresholds, if enough of them are left.
        """
        data = self.subject.data
        validation, test = data.validation, data.test
        if not self.spec.run.training.of_others:
            return "validation", validation
        judged = self.subject.examples
        rows = test_subset(data, None)[max(judged, len(test) - len(validation)) :]
        enough = len(rows) * float(self.spec.protocol.false_positives) >= REFUSED_AT_LEAST
        return ("test", test.take(rows)) if enough else ("training", validation)

    def _threshold(self, name: str, validation: Scores) -> float:
        place = list(self.watches).index(name)
        return threshold_at(validation.scores[place], float(self.spec.protocol.false_positives))

    def _set(self, task: CellTask) -> Scores:
        """The images of a column with their scores."""
        if task.column == VALIDATION:
            images = self.calibration
            x, y = images.batch(torch.arange(len(images)))
            return self._scored(x, y, images.ids, self.subject.arena.referee.classify(x))
        chunk = self.subject.chunk(task.number)
        if task.column == CLEAN:
            return self._judged(chunk, chunk.x)
        trial = next(trial for trial in self.spec.unseen if trial.column == task.column)
        return self._judged(chunk, self._attacked(trial, chunk))

    def _attacked(self, trial: Trial, chunk: Chunk) -> Tensor:
        """What an attack makes of every image, to its last step, whatever is broken by then."""
        seed, arena = seed_for(self.spec.run.id, trial.column, chunk.number), self.subject.arena
        try:
            return adversarial_images(arena, trial.attack, trial.knowledge, chunk.x, chunk.y, seed).x
        except (AccessDenied, RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise BadValue(
                f"the attack {trial.column} failed on {self.spec.run.training.named.label} "
                f"({type(error).__name__}: {error})",
                "--attack with other names",
            ) from error

    def _judged(self, chunk: Chunk, x: Tensor) -> Scores:
        """Images [n, C, H, W] of a chunk's examples, by the same draws whatever was done to them."""
        return self._scored(x, chunk.y, chunk.ids, self.subject.arena.verdicts(chunk, x))

    @torch.no_grad()
    def _scored(self, x: Tensor, y: Tensor, ids: Tensor, classes: Tensor) -> Scores:
        scores = [self.subject.batches.map(watch, x).double() for watch in self.watches.values()]
        told = torch.stack(scores).cpu().numpy()
        if not np.isfinite(told).all():
            name = list(self.watches)[int(np.argmin(np.isfinite(told).all(axis=1)))]
            raise BadValue(
                f"the detector {name} gives scores that are not finite numbers on "
                f"{self.spec.run.training.named.label}, expected finite ones",
                "--detector with other names",
            )
        return Scores(ids.cpu().numpy(), y.cpu().numpy(), classes.cpu().numpy(), told)

    def _attacked_with(self, name: str, validation: Scores, number: int) -> Arrays:
        """What the attacker who knows a detector does to both together; or why it failed."""
        if name not in self._guarded:
            watch, threshold = self.watches[name], self._threshold(name, validation)
            deployed = guarded(self.subject.deployed, watch, self._climbed(name), threshold)
            self._guarded[name] = self.subject.under(self.spec.run.budget, deployed)
        seed = seed_for(self.spec.id, _aware(name), number)
        played = play(self._guarded[name], self.spec.aware, self.subject.chunk(number), seed)
        if played.outcomes is None:
            return {"failed": np.array(played.error)}
        return played.outcomes.arrays()

    def _climbed(self, name: str) -> Suspicion:
        """A detector as attackers differentiate it; Lacking where they cannot."""
        watch = self.watches[name]
        if not isinstance(watch, Watch):
            return watch
        needed, classes = watch.detector.needs_features, self.subject.data.num_classes
        return dataclasses.replace(
            watch, given=climbable(self.subject.deployed, self.fitted.look, classes, needed)
        )

    def _closed(self, name: str) -> str | None:
        """Why nobody can climb a detector; None: they can."""
        try:
            self._climbed(name)
        except Lacking as reason:
            return str(reason)
        return None


def _aware(name: str) -> str:
    """The column of the attacker who knows a detector."""
    return f"{AWARE}-{name}"


def _joined(parts: Iterable[Arrays]) -> Scores:
    """The chunks of a set of images as one."""
    held = [Scores(**part) for part in parts]
    return Scores(
        ids=np.concatenate([part.ids for part in held]),
        labels=np.concatenate([part.labels for part in held]),
        classes=np.concatenate([part.classes for part in held]),
        scores=np.concatenate([part.scores for part in held], axis=1),
    )


def _told(parts: Iterable[Arrays]) -> Outcomes | str:
    """What an attack did to all images; or why it failed on some."""
    held = list(parts)
    failed = next((part["failed"] for part in held if "failed" in part), None)
    return concatenate([Outcomes(**part) for part in held]) if failed is None else f"failed: {failed}"
