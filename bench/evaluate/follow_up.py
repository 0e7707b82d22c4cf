"""Trials that go on where the columns before them stopped: ensembles of attacks are made of such."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.api import Trial
from bench.core.credit import broken, met
from bench.core.doubt import Missed, missed
from bench.core.outcomes import Outcomes, together


@dataclass(frozen=True)
class FollowUp(Trial):
    """A trial on those examples only that the column before it left standing.

    What was broken stays broken and costs nothing more, so the column's accuracy is that of all columns up to
    here. With a gate it is played if that column broke something or had too few examples to say anything;
    otherwise it is skipped, and says why.
    """

    gate: str | None = None  # a column before this one
    least: int = 50  # examples that the gate's column must have met to shut the gate


@dataclass(frozen=True)
class Scout(Trial):
    """One of several trials that look by themselves at what the columns before all of them left standing.

    Scouts of one sweep attack the same examples, so what only one of them breaks tells how many examples none
    of them did (bench.core.doubt). A sweep after the first is played if the one before it left that in doubt.
    A scout's accuracy is that of what its sweep goes on from and its own; not of the other scouts beside it.
    """

    sweep: int = 1


def goes_on_from(trial: Trial, trials: Sequence[Trial], computed: Iterable[str]) -> tuple[str, ...]:
    """The computed columns that a trial of a suite goes on from; none: it begins with the clean images."""
    earlier = [other for other in trials[: trials.index(trial)] if other.column in set(computed)]
    if isinstance(trial, Scout):
        before = [other for other in earlier if not _beside(other, trial)]
        return tuple(other.column for other in before)
    return (earlier[-1].column,) if isinstance(trial, FollowUp) and earlier else ()


def left_for(trial: Trial, trials: Sequence[Trial], outcomes: Mapping[str, Outcomes]) -> Outcomes | None:
    """What the columns did that a trial goes on from; None: it goes on from the clean images."""
    columns = goes_on_from(trial, trials, outcomes)
    return together([outcomes[column] for column in columns]) if columns else None


def in_doubt(trials: Iterable[Trial], outcomes: Mapping[str, Outcomes], sweep: int) -> Missed | None:
    """What the scouts of a sweep may all have missed; None: fewer than two of them were played."""
    scouts = [trial for trial in trials if isinstance(trial, Scout) and trial.sweep == sweep]
    held = [outcomes[trial.column] for trial in scouts if trial.column in outcomes]
    if len(held) < 2:
        return None
    return missed([broken(column) for column in held], int(met(held[0]).sum()))


def _beside(one: Trial, other: Scout) -> bool:
    return isinstance(one, Scout) and one.sweep == other.sweep
