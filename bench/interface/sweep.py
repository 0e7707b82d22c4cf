"""Many runs at once, and their one table: the road of `bench sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cli.console import tidy
from bench.cli.requests import as_options
from bench.cli.sweep import planned_sweep, swept, table_of_plan
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

    runs: tuple[SweepRun, ...] = ()  # all of them
    plan: Shown | None = None  # of a dry run, which has no runs

    @property
    def failures(self) -> dict[str, str]:
        """Run, in a few words -> why it has no worst case."""
        return {run.told: run.failed for run in self.runs if run.failed is not None}

    @property
    def table(self) -> Shown:
        """Mean and standard deviation over seeds, and each seed; of a dry run, what would be done.

        `.table.frame()` has plain values.
        """
        return self.plan or Shown((sweep_table(self.runs),))

    def __str__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


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
        plan = planned_sweep(words, how)
        if dry_run:
            return SweepResults((), plan=Shown((table_of_plan(plan, how),)))
        runs = tuple(swept(plan, how))
    return SweepResults(tuple(Result(run.record, how) for run in runs if run.record is not None), runs)


def _radii(given: object) -> object:
    """One radius or several, as they are typed."""
    return [radius(one) for one in given] if isinstance(given, (list, tuple)) else radius(given)
