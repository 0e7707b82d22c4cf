"""Detectors on a deployed defense: fitted, given thresholds, shown attacks, attacked, and recorded."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.api import Deployed, Trial
from bench.attacks.streams import seeded
from bench.core.detection import threshold_at
from bench.core.outcomes import Outcomes, concatenate
from bench.core.seeds import seed_for
from bench.data.dataset import Dataset, Images, test_subset
from bench.errors import AccessDenied, BadValue, StaleRecord
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.guarded import Watch, climbable, guarded
from bench.evaluate.portrait import Lacking
from bench.evaluate.unstopped import adversarial_images
from bench.records import detection as records
from bench.records.detection import Calibration, Detection, Scored
from bench.records.store import RunFolder, StoredCell, write_atomically
from bench.runner.detect_spec import DetectSpec
from bench.runner.detections import Found, detection_of
from bench.runner.fitting import Fitting, Suspicion
from bench.runner.options import Options, pick_device
from bench.runner.stale import listed, sources_behind, study_changes, study_sources
from bench.runner.summary import provenance
from bench.runner.weights import build_trained, fit, load_data
from bench.suites.detection import AWARE
from bench.train.fit import Trained

REFUSED_AT_LEAST = 5
"""So many images a threshold may refuse of those that it is chosen on, or they are too few to choose by."""


def detect(spec: DetectSpec, options: Options) -> Detection:
    """The detection record of a spec: from the store where it is complete, else from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, an attack fails on the network, or the
            code of what is stored has changed.
    """
    options.store.prepare()
    folder = RunFolder(folder_of(spec, options))
    sources = study_sources(spec.modules)
    found = _stored(folder, sources, options)
    if found is not None:
        options.progress.say(f"detection {spec.id} is complete: nothing was computed")
        return found
    thrown = folder.begin(spec.encoded(), sources)
    if thrown:
        options.progress.say(
            f"{thrown} parts of detection {spec.id} were made by other code: making them again"
        )
    return _Detecting(spec, options, folder, sources).record()


def folder_of(spec: DetectSpec, options: Options) -> Path:
    """Where the record lies, or will."""
    return options.store.root / records.FOLDER / spec.id


def _stored(folder: RunFolder, sources: Mapping[str, str], options: Options) -> Detection | None:
    if options.stale == "rerun":
        (folder.path / records.FIGURES).unlink(missing_ok=True)
        folder.forget()
        return None
    found = records.read(folder.path)
    changed = study_changes(found.provenance.sources, sources) if found is not None else []
    if found is not None and changed and options.stale == "refuse":
        raise StaleRecord(
            f"detection {found.id} was made by other code ({listed(changed)} changed since)",
            "--rerun to compute it again, or --accept-stale to see it as it is",
        )
    return found


class _Detecting:
    """The state of one record while it is computed."""

    def __init__(
        self, spec: DetectSpec, options: Options, folder: RunFolder, sources: Mapping[str, str]
    ) -> None:
        self.spec, self.options, self.folder, self.sources = spec, options, folder, sources
        self.started, self.clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
        self.device = pick_device(options.device)
        self.data: Dataset = load_data(spec.run.training, options)
        self.trained: Trained = fit(spec.run.training, options, self.data)
        net = build_trained(spec.run.training, self.trained, self.data, spec.run.checkpoint)
        self.net: nn.Module = net.to(self.device).eval().requires_grad_(False)
        self.deployed: Deployed = spec.run.training.named.defense.deploy(self.net)
        self.batches = Batches(options.batch_size or AUTO.get(self.device.type, 128))
        self.arena = self._arena(self.deployed)
        self.arena.access(spec.unseen[0].knowledge)  # lays the weights out now
        self.chunks = torch.split(test_subset(self.data, spec.run.suite.examples), spec.run.suite.chunk)
        self.fitted = Fitting(
            *(spec.run, spec.protocol, self.data, self.trained, self.net, self.deployed, self.batches),
            options,
        )
        self.chosen_on, self.calibration = self._for_thresholds()
        self.watches: dict[str, Suspicion] = self.fitted.watches()

    def record(self) -> Detection:
        """Fit, choose thresholds, attack; what is complete is stored."""
        watches, unseen = self.watches, self.spec.unseen
        examples = sum(map(len, self.chunks))
        title = f"{self.spec.run.training.named.label} {self.spec.run.suite.id}"
        self.options.progress.start(title, examples * (1 + len(unseen) + len(watches)), "examples")
        sets = {"validation": self._validation(), "clean": self._clean()}
        sets |= {trial.column: self._attacked(trial) for trial in unseen}
        rate = float(self.spec.protocol.false_positives)
        thresholds = {
            name: threshold_at(sets["validation"].scores[place], rate) for place, name in enumerate(watches)
        }
        aware = {name: self._aware(name, threshold) for name, threshold in thresholds.items()}
        self.options.progress.finish()
        content = records.pack(sets)
        made = sources_behind(self.spec.run, self.options.store, self.sources)
        found = Found(
            *(self.data, self.trained, self.net, sets, thresholds, aware, self.fitted.left_out),
            chosen_on=self.chosen_on,
        )
        record = detection_of(
            self.spec,
            found,
            records.sha256(content),
            provenance(made, self.device, self.started, time.perf_counter() - self.clock),
        )
        records.write(self.folder.path, record, content)
        return record

    def _arena(self, deployed: Deployed) -> Arena:
        run = self.spec.run
        return Arena(
            deployed,
            run.budget,
            self.data.num_classes,
            {},
            run.numerics,
            self.batches,
            self.options.compiled,
            seed=run.training.seed,
        )

    def _for_thresholds(self) -> tuple[Calibration, Images]:
        """Clean images that neither the network nor a detector was fitted on, and that are not judged.

        What we hold out for validation is what others trained their network on. Nobody trained on test
        images, so the last ones of the shuffle choose its thresholds, if enough of them are left.
        """
        validation, test = self.data.validation, self.data.test
        if not self.spec.run.training.of_others:
            return "validation", validation
        judged = sum(map(len, self.chunks))
        rows = test_subset(self.data, None)[max(judged, len(test) - len(validation)) :]
        enough = len(rows) * float(self.spec.protocol.false_positives) >= REFUSED_AT_LEAST
        return ("test", test.take(rows)) if enough else ("training", validation)

    def _validation(self) -> Scored:
        images = self.calibration

        def make() -> Scored:
            x, y = images.batch(torch.arange(len(images)))
            return self._scored(x, y, images.ids, self.arena.referee.classify(x))

        return self._kept("validation", 0, images.ids, make)

    def _clean(self) -> Scored:
        def make(chunk: Chunk) -> Scored:
            return self._judged(chunk, chunk.x)

        return self._each("clean", make)

    def _attacked(self, trial: Trial) -> Scored:
        """What an attack makes of every image, to its last step, whatever is broken by then."""

        def make(chunk: Chunk) -> Scored:
            seed = seed_for(self.spec.run.id, trial.column, chunk.number)
            try:
                made = adversarial_images(self.arena, trial.attack, trial.knowledge, chunk.x, chunk.y, seed)
            except (AccessDenied, RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
                raise BadValue(
                    f"the attack {trial.column} failed on {self.spec.run.training.named.label} "
                    f"({type(error).__name__}: {error})",
                    "--attack with other names",
                ) from error
            return self._judged(chunk, made.x)

        return self._each(trial.column, make)

    def _judged(self, chunk: Chunk, x: Tensor) -> Scored:
        """Images [n, C, H, W] of a chunk's examples, by the same draws whatever was done to them."""
        return self._scored(x, chunk.y, chunk.ids, self.arena.verdicts(chunk, x))

    def _each(self, name: str, make: Callable[[Chunk], Scored]) -> Scored:
        """Every chunk of test images, stored or computed, as one set."""
        parts = []
        for number in range(len(self.chunks)):
            chunk = self._chunk(number)
            parts.append(self._kept(name, number, chunk.ids, functools.partial(make, chunk)))
            self.options.progress.advance(len(chunk.y))
        return Scored(
            ids=np.concatenate([part.ids for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            classes=np.concatenate([part.classes for part in parts]),
            scores=np.concatenate([part.scores for part in parts], axis=1),
        )

    def _chunk(self, number: int) -> Chunk:
        test, rows = self.data.test, self.chunks[number]
        return Chunk(number, *test.batch(rows), test.ids[rows.to(test.ids.device)])

    def _kept(self, name: str, number: int, ids: Tensor, make: Callable[[], Scored]) -> Scored:
        path = self.folder.path / "cells" / f"scores-{name}" / f"{number:04d}.npz"
        if path.is_file():
            try:
                held = records.unpack(path.read_bytes())[name]
                if np.array_equal(held.ids, ids.cpu().numpy()):
                    return held
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink()
        seed = seed_for(self.spec.run.id, "scores", name, number)
        with seeded(seed, self.device):  # for a randomized defense
            scored = make()
        write_atomically(path, records.pack({name: scored}))
        return scored

    @torch.no_grad()
    def _scored(self, x: Tensor, y: Tensor, ids: Tensor, classes: Tensor) -> Scored:
        scores = [self.batches.map(watch, x).double() for watch in self.watches.values()]
        told = torch.stack(scores).cpu().numpy()
        if not np.isfinite(told).all():
            name = list(self.watches)[int(np.argmin(np.isfinite(told).all(axis=1)))]
            raise BadValue(
                f"the detector {name} gives scores that are not finite numbers on "
                f"{self.spec.run.training.named.label}, expected finite ones",
                "--detector with other names",
            )
        return Scored(ids.cpu().numpy(), y.cpu().numpy(), classes.cpu().numpy(), told)

    def _aware(self, name: str, threshold: float) -> Outcomes | str:
        """What the attacker who knows a detector does to both together; or why there is none."""
        watch = self.watches[name]
        climbed = watch
        if isinstance(watch, Watch):
            try:
                given = climbable(
                    self.deployed, self.fitted.look, self.data.num_classes, watch.detector.needs_features
                )
            except Lacking as reason:
                return str(reason)
            climbed = dataclasses.replace(watch, given=given)
        deployed = guarded(self.deployed, watch, climbed, threshold)
        arena, parts, column = self._arena(deployed), [], f"{AWARE}-{name}"
        for number, rows in enumerate(self.chunks):
            cell = self.folder.cell(column, number)
            if cell is None:
                seed = seed_for(self.spec.id, column, number)
                played = play(arena, self.spec.aware, self._chunk(number), seed)
                if played.outcomes is None:
                    return f"failed: {played.error}"
                cell = StoredCell(played.outcomes, played.seconds, played.flat_gradients, played.shared)
                self.folder.keep_cell(column, number, cell)
            parts.append(cell.outcomes)
            self.options.progress.advance(len(rows))
        return concatenate(parts)
