"""The jobs of a sweep, one after the other: what several runs share first, and no failure stops the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from bench.core.disk import FAILING, FULL
from bench.core.errors_of_others import in_one_line
from bench.errors import BenchError
from bench.plan import TrainSpec
from bench.records.record import Record
from bench.report.render import percent
from bench.sweeps.plan import SweepJob, SweepPlan, with_parents
from bench.sweeps.runs import SweepRun

Train = Callable[[TrainSpec], object]
Attack = Callable[[SweepJob], Record]
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """What a job of a sweep gave in the place of its result."""

    why: str  # in a sentence


def walk(plan: SweepPlan, train: Train, attack: Attack, say: Say) -> Iterator[SweepRun]:
    """What came of each run, in order; `train` and `attack` do the work, and raise what went wrong.

    A run whose weights could not be trained before is not tried again. What the disk cannot hold, and what
    ends a process, ends the sweep; all else is of one job alone.
    """
    shared, began = plan.shared, time.monotonic()
    total, lost = len(shared) + len(plan.jobs), dict[str, str]()
    for place, spec in enumerate(shared, 1):
        name = f"{spec.named.label}, {spec.architecture}, seed {spec.seed}"
        say(f"{_so_far(place, total, began)}: training {name}, for {plan.uses[spec.id]} runs")
        trained = Failed(why) if (why := _lost(spec, lost)) else _tried(partial(train, spec))
        if isinstance(trained, Failed):
            lost[spec.id] = trained.why
            say(f"training {name} failed: {trained.why}")
    for place, job in enumerate(plan.jobs, len(shared) + 1):
        say(f"{_so_far(place, total, began)}: {job.run.told}")
        why = _lost(job.spec.training, lost)
        found = Failed(why) if why else _tried(partial(attack, job))
        run = _told(job.run, found)
        say(_came_to(run))
        yield run


def _tried(play: Callable[[], T]) -> T | Failed:
    """What it gives, or why it failed."""
    try:
        return play()
    except BenchError as error:
        return Failed(str(error))
    except OSError as error:
        if error.errno in FULL | FAILING:
            raise
        return Failed(in_one_line(error))
    except Exception as error:
        return Failed(in_one_line(error))


def _lost(spec: TrainSpec, lost: dict[str, str]) -> str | None:
    """Why a training cannot be: it failed before, or one of its parents did."""
    return next((lost[one.id] for one in with_parents(spec) if one.id in lost), None)


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
