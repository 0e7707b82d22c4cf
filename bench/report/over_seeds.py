"""What several seeds of one method came to: their mean and the standard deviation of the sample."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class OverSeeds:
    """Shares of several seeds: mean and standard deviation, as fractions.

    >>> str(OverSeeds.of([0.4, 0.5, 0.6])), str(OverSeeds.of([0.4, 0.5], asked=3))
    ('50.0 ± 10.0', '45.0 ± 7.1 (2 of 3)')
    >>> str(OverSeeds.of([0.4], asked=2))
    '40.0 (1 of 2)'
    """

    value: float
    deviation: float | None  # of the sample, with n - 1; None: of one seed nothing is known
    n: int  # how many seeds have a value
    asked: int  # how many should

    @classmethod
    def of(cls, values: Sequence[float], asked: int | None = None) -> OverSeeds:
        """The spread of at least one value; `asked` seeds were to have one, all that do if it is None."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.mean(values), deviation, len(values), len(values) if asked is None else asked)

    def __str__(self) -> str:
        """In percent, as tables and sentences print it."""
        told = f"{100 * self.value:.1f}"
        told += "" if self.deviation is None else f" ± {100 * self.deviation:.1f}"
        return told if self.n == self.asked else f"{told} ({self.n} of {self.asked})"
