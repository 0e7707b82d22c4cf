"""Columns of a run on one chunk: the task that its executors compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bench.api import Trial
from bench.core.outcomes import Outcomes
from bench.core.seeds import seed_for
from bench.evaluate.engine import Cell, play
from bench.plan import RunSpec
from bench.runner.options import Options
from bench.runner.subject import Subject, open_subject


@dataclass(frozen=True)
class Chain:
    """Columns on one chunk, each a sequel of the one before it: what is computed in a row."""

    number: int  # of the chunk
    trials: tuple[Trial, ...]
    before: Outcomes | None = None  # where the first goes on from, if it is a sequel

    def __str__(self) -> str:
        return f"{', '.join(trial.column for trial in self.trials)} on chunk {self.number}"


@dataclass(frozen=True)
class Played:
    """A computed cell."""

    column: str
    number: int
    cell: Cell


class Columns:
    """The columns of a run on its subject, whose networks are prepared before the first cell."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        subject.lay_out()

    def play(self, chain: Chain) -> Iterator[Played]:
        """Every cell of a chain; one that failed ends it."""
        subject, before, chunk = self._subject, chain.before, self._subject.chunk(chain.number)
        for trial in chain.trials:
            seed = seed_for(subject.spec.id, trial.column, chain.number)
            cell = play(subject.arena, trial, chunk, seed, before)
            yield Played(trial.column, chain.number, cell)
            if cell.outcomes is None:
                return
            before = cell.outcomes


@dataclass(frozen=True)
class RunWork:
    """A run, as it can be sent to another process."""

    spec: RunSpec
    weights: Mapping[str, str]  # training -> SHA-256 of what this process attacks

    def open(self, options: Options) -> Columns:
        """Open its subject."""
        return Columns(open_subject(self.spec, replace(options, weights=self.weights)))
