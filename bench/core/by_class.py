"""Accuracy class by class, and its mean over the classes, which a frequent class does not decide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The normal quantile of two-sided 95 %."""

Bounds = tuple[float, float, float]
"""A share in [0, 1], and the ends of its 95 % interval."""


@dataclass(frozen=True)
class Counted:
    """How many examples of one class there are, and of how many something holds."""

    label: int
    n: int
    held: int


def count_by_class(labels: NDArray[np.int64], held: NDArray[np.bool_]) -> Iterator[Counted]:
    """For each class that has an example, of how many of its examples `held` [n] is true.

    >>> [one.held for one in count_by_class(np.array([0, 2, 2]), np.array([True, False, True]))]
    [1, 1]
    """
    for label in np.unique(labels):
        own = held[labels == label]
        yield Counted(int(label), len(own), int(own.sum()))


def wilson(value: float, n: float) -> Bounds:
    """A share of n examples with its 95 % score interval (Wilson, JASA 1927); n may be an effective number.

    >>> [round(end, 4) for end in wilson(0.8, 10)]
    [0.8, 0.4902, 0.9433]
    """
    centre = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return value, 0.0 if value == 0 else low, 1.0 if value == 1 else high


def balanced(counts: list[Counted]) -> Bounds:
    """The mean over classes of the share of each, with its 95 % interval.

    It is Wilson's interval with the number of examples of which a plain share would be as uncertain: the
    smaller of K^2 / sum 1/n_k, which holds where all classes are equally hard, and v (1 - v) / V, where V is
    the variance of a mean of independent classes (Kott & Liu, Int. Stat. Review 2009). Of classes of equal
    size it is the interval of the plain share.

    >>> [round(end, 4) for end in balanced([Counted(0, 10, 8), Counted(1, 10, 8)])] == [
    ...     round(end, 4) for end in wilson(0.8, 20)
    ... ]
    True
    """
    shares = [one.held / one.n for one in counts]
    value = math.fsum(shares) / len(counts)
    alike = math.fsum(1 / one.n for one in counts) / len(counts) ** 2
    apart = math.fsum(p * (1 - p) / one.n for p, one in zip(shares, counts, strict=True)) / len(counts) ** 2
    mixed = value * (1 - value)
    return wilson(value, 1 / alike if apart <= mixed * alike else mixed / apart)
