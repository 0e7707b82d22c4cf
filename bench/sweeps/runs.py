"""The runs of a sweep as tables tell them, before and after they are computed; torch is not loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.records.record import Record


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: what was asked, and what came of it."""

    ground: Mapping[str, str]  # what it shares with the other seeds and suites of its row, by axis
    suite: str
    seed: int
    training_id: str
    run_id: str
    command: str  # what computes it alone
    record: Record | None = None
    failed: str | None = None  # why it has no worst case

    @property
    def told(self) -> str:
        """The run in a few words."""
        return f"{self.ground['defense']} under {self.suite}, seed {self.seed}"


def rows_of_sweep(runs: Sequence[SweepRun]) -> dict[tuple[str, ...], list[SweepRun]]:
    """The runs that differ in seed and suite alone, in the order of their first."""
    axes = axes_of(runs)
    found: dict[tuple[str, ...], list[SweepRun]] = {}
    for run in runs:
        found.setdefault(tuple(run.ground.get(axis, "-") for axis in axes), []).append(run)
    return found


def axes_of(runs: Sequence[SweepRun]) -> list[str]:
    """Every axis that a run has, in order."""
    return list(dict.fromkeys(axis for run in runs for axis in run.ground))


def varied(runs: Sequence[SweepRun]) -> list[str]:
    """The axes in which runs differ, and the defense always."""
    return [
        axis
        for axis in axes_of(runs)
        if axis == "defense" or len({run.ground.get(axis, "-") for run in runs}) > 1
    ]
