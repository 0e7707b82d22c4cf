"""Many runs at once, and their one table: the road of `bench sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cli.console import tidy
from bench.cli.requests import as_options
from bench.cli.sweep import outlook, planned_sweep, swept
from bench.cli.sweep import sweep as command
from bench.cli.words import words_of
from bench.interface.result import Result, Results
from bench.interface.shown import Shown
from bench.interface.words import progress_of, radius, settings_of
from bench.sweeps.runs import SweepRun
from bench.sweeps.table import sweep_table


@dataclass(frozen=True, eq=False, repr=False)
class SweepResults(Results):
    """The results of the runs of a sweep that have a record, in its order; shown as the command's table."""

    plan: Shown  # what was to do before: a row for each run with its ids and its state
    runs: tuple[SweepRun, ...] = ()  # all of them; of a dry run none

    @property
    def failures(self) -> dict[str, str]:
        """Run, in a few words -> why it has no worst case."""
        return {run.told: run.failed for run in self.runs if run.failed is not None}

    @property
    def table(self) -> Shown:
        """Mean and standard deviation over seeds, and each seed; `.table.frame()` has plain values."""
        return Shown((sweep_table(self.runs),))

    def __str__(self) -> str:
        return str(self._shown)

    def _repr_html_(self) -> str:
        return self._shown._repr_html_()

    @property
    def _shown(self) -> Shown:
        return self.table if self.runs else self.plan


def sweep(
    file: str | Path | None,
    *,
    settings: Mapping[str, object] | None,
    dry_run: bool,
    progress: bool,
    **given: Any,
) -> SweepResults:
    """See bench.sweep."""
    given |= {name: _radii(given[name]) for name in ("eps", "train_eps")}
    words = words_of(command, {"settings": settings_of(settings), **given})
    words["file"] = None if file is None else Path(file)
    how = as_options(**words, progress=progress_of(progress))
    with tidy(how.progress):
        todo = planned_sweep(words, how)
        plan = Shown((outlook(todo, how),))
        runs = () if dry_run else tuple(swept(todo, how))
    found = tuple(Result(run.record, how) for run in runs if run.record is not None)
    return SweepResults(found, plan, runs)


def _radii(given: object) -> object:
    """One radius or several, as they are typed."""
    return [radius(one) for one in given] if isinstance(given, (list, tuple)) else radius(given)
