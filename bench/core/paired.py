"""Two methods on the same examples: the difference of their shares, its interval, its p value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.core.metrics import Proportion


@dataclass(frozen=True)
class Difference:
    """What one method keeps more than another of the same n examples, with its 95 % interval."""

    won: int  # held by this one only
    lost: int  # held by the other only
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The difference of the shares, in [-1, 1]."""
        return (self.won - self.lost) / self.n


def paired_difference(held: NDArray[np.bool_], other: NDArray[np.bool_]) -> Difference:
    """The share of `held` minus that of `other`, example by example in the same order.

    The interval is Newcombe's method 10 (Statistics in Medicine 17, 1998, 2635-2650): the Wilson limits of
    both shares, joined with their correlation. Unlike Wald's it has a width where nothing differs, and it
    never leaves [-1, 1].

    >>> import numpy as np
    >>> d = paired_difference(np.array([True] * 48 + [False] * 2), np.array([True] * 36 + [False] * 14))
    >>> d.value, d.won, d.lost
    (0.24, 12, 0)
    """
    if len(held) != len(other):
        raise ValueError(f"a paired difference needs the same examples, but has {len(held)} and {len(other)}")
    n = len(held)
    ours, theirs = _share(int(held.sum()), n), _share(int(other.sum()), n)
    both, neither = int((held & other).sum()), int((~held & ~other).sum())
    won, lost = ours.count - both, theirs.count - both
    joint: float = both * neither - won * lost
    if joint > 0:  # the continuity correction, on the side that would narrow the interval
        joint = max(joint - n / 2, 0)
    scale = ours.count * (n - ours.count) * theirs.count * (n - theirs.count)
    phi = joint / math.sqrt(scale) if scale else 0.0
    below, above = ours.value - ours.low, ours.high - ours.value
    other_below, other_above = theirs.value - theirs.low, theirs.high - theirs.value
    value = (won - lost) / n
    return Difference(
        won,
        lost,
        n,
        low=value - _joined(below, other_above, phi),
        high=value + _joined(above, other_below, phi),
    )


@cache
def mcnemar(won: int, lost: int) -> float:
    """The two-sided p value of the exact McNemar test, from how many examples only one of two methods keeps.

    Under the null hypothesis an example on which they differ falls to either side with probability 1/2
    (McNemar, Psychometrika 12, 1947; exact by the binomial distribution). Where they never differ it is 1.

    >>> mcnemar(0, 6)
    0.03125
    """
    from scipy.stats import binomtest  # slow to load, and tables need it not

    if won < 0 or lost < 0:
        raise ValueError(f"counts of examples are at least 0, but are {won} and {lost}")
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for being several, in their order (Holm, Scand. J. of Statistics 6, 1979).

    The chance of even one false rejection at level a is at most a, however the tests depend on each other.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    count, largest = len(p_values), 0.0
    adjusted = [0.0] * count
    for place, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (count - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@cache
def _share(count: int, n: int) -> Proportion:
    """So many of n examples, with the interval; all pairs of a board ask for the same few again and again."""
    import numpy as np

    from bench.core.metrics import proportion  # loads scipy, which tables need not

    return proportion(np.arange(n) < count)


def _joined(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))
