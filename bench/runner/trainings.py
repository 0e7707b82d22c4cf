"""Trainings as jobs: what several workers can train at once, parents before students."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from bench.core.digest import source_digests
from bench.core.progress import Progress
from bench.errors import BadCheckpoint
from bench.plan import RunSpec, TrainSpec
from bench.records.files import sweep, write_atomically
from bench.runner.assignment import trainings_of
from bench.runner.engines.named import HERE
from bench.runner.executors import executor, opened_pool
from bench.runner.jobs import Failed, Job, play
from bench.runner.options import Options
from bench.runner.stale import check_training
from bench.runner.trackers.guard import tracked
from bench.runner.weights import fit, followed
from bench.train.fit import Trained, trained_in
from bench.train.recipes import LOADED

_LAST = "training.json"
"""The file that is written last: it exists = the training is complete."""


@dataclass(frozen=True)
class TrainTask:
    """The one task of a training."""

    label: str

    def __str__(self) -> str:
        return f"the training of {self.label}"


@dataclass(frozen=True)
class TrainWork:
    """A training, as it can be sent to another process."""

    spec: TrainSpec
    weights: Mapping[str, str]  # of its parents: training -> SHA-256

    def open(self, options: Options) -> Trainer:
        """Nothing is trained yet; an earlier attempt here goes on, if the same code began it."""
        return Trainer(self.spec, replace(options, stale="rerun"))


class Trainer:
    """A training that is about to be done."""

    def __init__(self, spec: TrainSpec, options: Options) -> None:
        self._spec, self._options = spec, options

    def play(self, task: TrainTask) -> Iterator[dict[str, bytes]]:
        """The files of the complete training, by name."""
        folder = fit(self._spec, self._options).folder
        kept = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."]
        files = {path.name: path.read_bytes() for path in kept if path.suffix != ".ckpt"}
        shutil.rmtree(folder)  # the driver keeps it
        yield files


def fit_on_workers(spec: TrainSpec, options: Options) -> Trained:
    """The weights of a training whose parents are in the store: from there, or trained by one of the workers.

    Several devices that train together are those of this machine, and what others trained is only read.

    Raises:
        BenchError: as `fit` does; or every worker that tried was lost.
    """
    if spec.devices > 1 or spec.recipe == LOADED:
        return fit(spec, options)
    folder, store = options.store.model(spec.id), options.store
    store.prepare()
    with store.lock("training", spec.id, options.progress.say) as since:
        sweep(folder, since)
        changed = check_training(spec, folder, source_digests(spec.modules), options)
        found = trained_in(folder, spec.id) if not changed else None
        if found is not None:
            return found
        work = TrainWork(spec, _weights_of_parents(spec, options))
        with followed(spec, options):
            with executor(lambda: Trainer(spec, options), work, options) as ready:
                (files,) = ready.play([TrainTask(spec.named.label)])
            (folder / _LAST).unlink(missing_ok=True)
            for name in sorted(files, key=lambda name: (name == _LAST, name != "spec.json")):
                write_atomically(folder / name, files[name])
        (folder / "state.ckpt").unlink(missing_ok=True)
    trained = trained_in(folder, spec.id)
    assert trained is not None
    return trained


def fitted(spec: TrainSpec, options: Options) -> Trained:
    """The weights of a training and of its parents, on the options' workers where there are any.

    Raises:
        BenchError: as `fit` does; or every worker that tried was lost.
    """
    if options.pool is None:
        return fit(spec, options)
    for needed in trainings_of(spec):
        trained = fit_on_workers(needed, options)
    return trained


def _weights_of_parents(spec: TrainSpec, options: Options) -> dict[str, str]:
    found = {}
    for parent in trainings_of(spec):
        trained = trained_in(options.store.model(parent.id), parent.id) if parent.id != spec.id else None
        if trained is not None:
            found[parent.id] = trained.sha256
        elif parent.id != spec.id:
            raise BadCheckpoint(
                f"the weights {parent.id} of {parent.named.label} are not there, expected them"
            )
    return found


def named(spec: TrainSpec) -> str:
    """A training in a few words."""
    return f"{spec.named.label}, {spec.architecture}, seed {spec.seed}"


def train_ahead(runs: Iterable[RunSpec], options: Options) -> None:
    """Have workers train at once all that these runs need and the store lacks; without workers, nothing.

    A network of an attacker's that cannot be trained is left to the run, which tells it.

    Raises:
        Exception: what went wrong with the training of a run's own network.
    """
    if options.pool is None:
        return
    runs = list(runs)
    specs = {spec.id: spec for run in runs for spec in trainings_of(run)}
    victims = {spec.id for run in runs for spec in trainings_of(run.training)}
    jobs = [
        Job(
            id=spec.id,
            told=f"training {named(spec)}",
            do=partial(fit_on_workers, spec, replace(options, progress=Spoken(options.progress))),
            needs=tuple(parent.id for _, parent in spec.parents),
        )
        for spec in specs.values()
        if not (options.store.model(spec.id) / _LAST).is_file() and spec.recipe != LOADED
    ]
    for job, found in play(jobs, options.pool, lambda job: options.progress.say(job.told)):
        if isinstance(found, Failed) and job.id in victims and found.error is not None:
            raise found.error


class Spoken:
    """Only what is said, of work of which several pieces are done at once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, title: str, total: int, unit: str, done: int = 0) -> None:
        """Nothing is drawn."""

    def advance(self, amount: int = 1, **figures: float) -> None:
        """Nothing is drawn."""

    def say(self, message: str) -> None:
        """It is said."""
        self._progress.say(message)

    def finish(self) -> None:
        """Nothing was drawn."""


@contextmanager
def engaged(options: Options) -> Iterator[Options]:
    """The options with the workers of `--on` and the tracker of `--track`, for all that is done inside.

    Raises:
        BenchError: there is no such engine or tracker, or what it is made of is not installed.
    """
    with tracked(options.track, options.progress.say) as tracking:
        options = replace(options, tracking=tracking)
        if options.on == HERE or options.pool is not None:
            yield options
            return
        with opened_pool(options) as pool:
            yield replace(options, pool=pool)
            options.progress.say(pool.told())
