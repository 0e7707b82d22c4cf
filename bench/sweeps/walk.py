"""The jobs of a sweep: what several runs share first, and no failure stops the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from bench.plan import TrainSpec
from bench.records.record import Record
from bench.report.render import percent
from bench.runner.jobs import Failed, Job, play
from bench.runner.pool import Pool
from bench.runner.trainings import named
from bench.sweeps.plan import SweepJob, SweepPlan, behind, with_parents
from bench.sweeps.runs import SweepRun

Train = Callable[[TrainSpec], object]
Attack = Callable[[SweepJob], Record]
Say = Callable[[str], None]


def walk(
    plan: SweepPlan, train: Train, attack: Attack, say: Say, pool: Pool | None = None
) -> Iterator[SweepRun]:
    """What came of each run, as soon as it is known; `train` and `attack` do the work, and raise.

    A run whose weights could not be trained before is not tried again. What the disk cannot hold, and what
    ends a process, ends the sweep; all else is of one job alone. On workers, what can be done at once is.
    """
    jobs = jobs_of(plan, train, attack, everything=pool is not None)
    runs = {job.spec.id: job.run for job in plan.jobs}
    begun, began = count(1), time.monotonic()
    for job, found in play(
        jobs, pool, lambda job: say(f"{_so_far(next(begun), len(jobs), began)}: {job.told}")
    ):
        if job.id in runs:
            run = _told(runs[job.id], found)
            say(_came_to(run))
            yield run
        elif isinstance(found, Failed):
            say(f"{job.told.partition(', for ')[0]} failed: {found.why}")


def jobs_of(plan: SweepPlan, train: Train, attack: Attack, everything: bool) -> list[Job[Any]]:
    """The graph: trainings that several runs share, or `everything` that is to be trained; then runs."""
    trainings = plan.to_train if everything else plan.shared
    names = {spec.id for spec in trainings}
    found: list[Job[Any]] = [
        Job(
            id=spec.id,
            told=f"training {named(spec)}, for {_runs(plan.uses[spec.id])}",
            do=partial(train, spec),
            needs=tuple(parent.id for _, parent in spec.parents),
        )
        for spec in trainings
    ]
    for job in plan.jobs:
        own = [spec.id for spec in with_parents(job.spec.training) if spec.id in names]
        others = [spec.id for spec in behind(job.spec) if spec.id in names and spec.id not in own]
        found.append(
            Job(job.spec.id, job.run.told, partial(attack, job), needs=tuple(own), after=tuple(others))
        )
    return found


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _so_far(place: int, total: int, began: float) -> str:
    """Where the sweep is, in the words that a line begins with."""
    spent = time.monotonic() - began
    return f"job {place} of {total}" + (f" ({in_words(spent)} so far)" if spent >= 1 else "")


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(0.4), in_words(75), in_words(7300)
    ('1 s', '1 min', '2 h 2 min')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _told(run: SweepRun, found: Record | Failed) -> SweepRun:
    """The run with its record, or with why it has none or no worst case."""
    if isinstance(found, Failed):
        return replace(run, failed=found.why)
    errors = [f"{column.name}: {column.error}" for column in found.columns if column.error is not None]
    if not errors and found.status == "complete" and found.worst_case is not None:
        return replace(run, record=found)
    return replace(run, record=found, failed="; ".join(errors) or "it has no worst case")


def _came_to(run: SweepRun) -> str:
    """A run in one line, for who waits for the others."""
    if run.failed is not None:
        return f"{run.told} failed: {run.failed}"
    held = run.record.worst_case if run.record else None
    return f"{run.told}: {percent(held)} % in the worst case" if held else f"{run.told}: no worst case"
