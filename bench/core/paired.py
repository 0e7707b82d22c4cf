"""Two methods on the same examples: the difference of their shares, its interval, its p value."""

from __future__ import annotations

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
    """The share of `held` minus that of `other`, example by example in the same order; [n] each.

    The interval is Newcombe's method 10 (Statistics in Medicine 17, 1998, 2635-2650): the Wilson limits of
    both shares, joined with their correlation. Unlike Wald's it has a width where nothing differs, and it
    never leaves [-1, 1].

    >>> import numpy as np
    >>> d = paired_difference(np.array([True] * 48 + [False] * 2), np.array([True] * 36 + [False] * 14))
    >>> d.value, d.won, d.lost
    (0.24, 12, 0)
    """
    import numpy as np

    if len(held) != len(other):
        raise ValueError(f"a paired difference needs the same examples, but has {len(held)} and {len(other)}")
    return paired_differences(np.stack([held, other]), [(0, 1)])[0]


def paired_differences(held: NDArray[np.bool_], pairs: Sequence[tuple[int, int]]) -> list[Difference]:
    """The same for many pairs of rows of `held` [methods, n], at once: a store may have a million of them."""
    import numpy as np

    n = held.shape[1]
    one, other = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    counted = held.astype(np.float32)  # a product of such counts exactly up to 2**24 examples
    both = (counted @ counted.T)[one, other].astype(np.int64)
    shares = [_share(int(count), n) for count in held.sum(axis=1)]
    count, low, high = (np.array([getattr(s, name) for s in shares]) for name in ("count", "low", "high"))
    won, lost = count[one] - both, count[other] - both
    neither = n - won - lost - both

    joint = both * neither - won * lost
    joint = np.where(joint > 0, np.maximum(joint - n / 2, 0), joint)  # the correction where it would narrow
    scale = np.sqrt((count * (n - count))[one] * (count * (n - count))[other].astype(np.float64))
    phi = np.divide(joint, scale, out=np.zeros_like(scale), where=scale > 0)
    below, above = count / n - low, high - count / n
    value = (won - lost) / n
    lows = value - _joined(below[one], above[other], phi)
    highs = value + _joined(above[one], below[other], phi)
    found = zip(won.tolist(), lost.tolist(), lows.tolist(), highs.tolist(), strict=True)
    return [Difference(gained, given, n, low, high) for gained, given, low, high in found]


@cache
def mcnemar(won: int, lost: int) -> float:
    """The two-sided p value of the exact McNemar test, from how many examples only one of two methods keeps.

    Under the null hypothesis an example on which they differ falls to either side with probability 1/2
    (McNemar, Psychometrika 12, 1947; exact by the binomial distribution). Where they never differ it is 1.

    >>> mcnemar(0, 6)
    0.03125
    """
    from scipy.special import bdtr  # the binomial distribution; slow to load, and tables need it not

    if won < 0 or lost < 0:
        raise ValueError(f"counts of examples are at least 0, but are {won} and {lost}")
    return min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for being several, in their order (Holm, Scand. J. of Statistics 6, 1979).

    The chance of even one false rejection at level a is at most a, however the tests depend on each other.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    import numpy as np

    values = np.asarray(p_values, dtype=np.float64)
    order = values.argsort(kind="stable")
    least = np.minimum(1.0, np.arange(len(values), 0, -1) * values[order])
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(least)
    return [float(value) for value in adjusted]


@cache
def _share(count: int, n: int) -> Proportion:
    """So many of n examples, with the interval; all pairs of a board ask for the same few again and again."""
    import numpy as np

    from bench.core.metrics import proportion  # loads scipy, which tables need not

    return proportion(np.arange(n) < count)


def _joined(a: NDArray[np.float64], b: NDArray[np.float64], phi: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.sqrt(np.maximum(a * a - 2 * phi * a * b + b * b, 0.0))
