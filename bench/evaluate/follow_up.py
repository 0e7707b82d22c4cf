"""A trial that goes on where the columns before it stopped: ensembles of attacks are made of such."""

from __future__ import annotations

from dataclasses import dataclass

from bench.api import Trial


@dataclass(frozen=True)
class FollowUp(Trial):
    """A trial on those examples only that the column before it left standing.

    What was broken stays broken and costs nothing more, so the column's accuracy is that of all columns up to
    here. With a gate it is played if that column broke something or had too few examples to say anything;
    otherwise it is skipped, and says why.
    """

    gate: str | None = None  # a column before this one
    least: int = 50  # examples that the gate's column must have met to shut the gate
