"""What a sweep will do: its runs, the trainings behind them, and what of both is in the store."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.core.digest import source_digests
from bench.core.threat import format_eps
from bench.errors import BadValue, StaleRecord
from bench.plan import RunSpec, TrainSpec
from bench.runner.options import Options
from bench.runner.stale import stored_record
from bench.sweeps.axes import FIXED, SweepPoint, Word
from bench.sweeps.runs import SweepRun
from bench.train.recipes import LOADED


@dataclass(frozen=True)
class SweepJob:
    """One run of a sweep, planned."""

    point: SweepPoint
    words: Mapping[str, Any]  # of `bench run`, each of its type
    spec: RunSpec
    run: SweepRun

    @classmethod
    def of(cls, point: SweepPoint, words: Mapping[str, Any], spec: RunSpec, typed: Sequence[str]) -> SweepJob:
        """`typed` are the options of `bench run` for it alone."""
        run = SweepRun(
            ground=_ground(point, spec, words),
            suite=spec.suite.id,
            seed=spec.training.seed,
            training_id=spec.training.id,
            run_id=spec.id,
            command=shlex.join(["bench", "run", *typed]),
        )
        return cls(point, words, spec, run)


@dataclass(frozen=True)
class SweepPlan:
    """All jobs of a sweep, with what is known of them before any is computed."""

    jobs: tuple[SweepJob, ...]
    complete: frozenset[str]  # runs whose record answers
    stale: Mapping[str, str]  # run -> why its record is refused
    trained: frozenset[str]  # trainings whose weights are in the store

    @property
    def open_jobs(self) -> list[SweepJob]:
        """The runs that are to be computed."""
        return [job for job in self.jobs if job.spec.id not in self.complete]

    @cached_property
    def trainings(self) -> dict[str, TrainSpec]:
        """Every network that the sweep trains or has trained, by id, parents before students."""
        return {spec.id: spec for job in self.jobs for spec in behind(job.spec)}

    @cached_property
    def uses(self) -> Counter[str]:
        """Training that is still to be done -> how many runs wait for it."""
        return Counter(
            name for job in self.open_jobs for name in {spec.id for spec in behind(job.spec, self.trained)}
        )

    @property
    def to_train(self) -> list[TrainSpec]:
        """What is still to be trained, parents before students."""
        return [spec for spec in self.trainings.values() if spec.id in self.uses]

    @property
    def shared(self) -> list[TrainSpec]:
        """What of it several runs wait for: it is trained before them, once."""
        return [spec for spec in self.to_train if self.uses[spec.id] > 1]


def plan_sweep(jobs: Sequence[SweepJob], options: Options) -> SweepPlan:
    """The plan of some runs.

    Raises:
        BadValue: two of them are one run.
        BenchError: a stored record is damaged.
    """
    _require_distinct(jobs)
    complete, stale = set(), {}
    for job in jobs if options.stale != "rerun" else ():
        folder = options.store.run(job.spec.id)
        if not (folder.path / "record.json").is_file():
            continue
        try:
            stored_record(folder, source_digests(job.spec.modules), options)
            complete.add(job.spec.id)
        except StaleRecord as error:
            stale[job.spec.id] = str(error)
    names = {spec.id for job in jobs for spec in behind(job.spec)}
    trained = {name for name in names if (options.store.model(name) / "training.json").is_file()}
    return SweepPlan(tuple(jobs), frozenset(complete), stale, frozenset(trained))


def behind(spec: RunSpec, known: frozenset[str] = frozenset()) -> Iterator[TrainSpec]:
    """The trainings that a run needs, parents before students; those that are known need nothing."""
    for training in (spec.training, *(other for _, other in spec.others)):
        yield from with_parents(training, known)


def with_parents(spec: TrainSpec, known: frozenset[str] = frozenset()) -> Iterator[TrainSpec]:
    """A training after its parents; nothing of what others trained, or is known."""
    if spec.recipe == LOADED or spec.id in known:
        return
    for _, parent in spec.parents:
        yield from with_parents(parent, known)
    yield spec


def _require_distinct(jobs: Iterable[SweepJob]) -> None:
    """Two words may mean one thing: smoke and smoke@1."""
    found: dict[str, SweepJob] = {}
    for job in jobs:
        other = found.setdefault(job.spec.id, job)
        if other is not job:
            places = " and ".join(dict.fromkeys(one.point.place for one in (other, job) if one.point.place))
            raise BadValue(
                f"{places + ': ' if places else ''}{job.run.told} is there twice ({_differing(other, job)}), "
                "expected every run once"
            )


def _differing(one: SweepJob, other: SweepJob) -> str:
    """The words by which two jobs of one run differ."""
    first, second = one.point.words, other.point.words
    found = [
        f"{key} {first.get(key)} and {second.get(key)}"
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]
    return "; ".join(found) or "the same words"


def _ground(point: SweepPoint, spec: RunSpec, words: Mapping[str, Any]) -> dict[str, str]:
    """What a run shares with the other seeds and suites of its row: names as tables have them."""
    training, inside = spec.training, spec.training.budget
    settings = dict(item.split("=", 1) for item in words["settings"])
    return {
        "defense": training.named.label,
        "data": training.data,
        "norm": spec.budget.norm.value,
        "eps": format_eps(spec.budget.eps),
        "architecture": training.architecture,
        "recipe": training.recipe.name,
        "trained at": f"{inside.norm.value} {format_eps(inside.eps)}",
        **{key: _as_typed(point.words[key]) for key in FIXED if key in point.words and key != "label"},
        **{key.strip(): value for key, value in settings.items() if not key.startswith("defense.")},
    }


def _as_typed(word: Word) -> str:
    return str(word).lower() if isinstance(word, bool) else str(word)
