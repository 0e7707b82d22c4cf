"""Numbers computed from outcomes: accuracies as fractions of all examples, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.credit import met
from bench.core.outcomes import NEVER, REFUSED, Outcomes
from bench.core.paired import mcnemar


@dataclass(frozen=True)
class Proportion:
    """A share of n examples with its 95 % Wilson score interval (Wilson, JASA 1927)."""

    count: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself, in [0, 1]."""
        return self.count / self.n


def proportion(held: NDArray[np.bool_]) -> Proportion:
    """The share of True.

    >>> p = proportion(np.array([True] * 8 + [False] * 2))
    >>> p.value, round(p.low, 4), round(p.high, 4)
    (0.8, 0.4902, 0.9433)
    """
    if len(held) == 0:
        raise ValueError("a proportion of no examples is not defined")
    from scipy.stats import binomtest  # slow to load, and what reads records needs it not

    count = int(held.sum())
    interval = binomtest(count, len(held)).proportion_ci(confidence_level=0.95, method="wilson")
    return Proportion(count, len(held), float(interval.low), float(interval.high))


def attack_success_rate(outcomes: Outcomes) -> float | None:
    """The share of the examples it met that the attack broke; None where it met none."""
    attacked = int(met(outcomes).sum())
    return None if attacked == 0 else 1 - int(outcomes.robust.sum()) / attacked


def queries_to_success(outcomes: Outcomes) -> tuple[float, float] | None:
    """Mean and median of the forwards spent on each example that was met, failures at all they spent.

    Success or not, an example costs what was spent on it; leaving failures out would flatter the attack.
    None where it met none.
    """
    attacked = met(outcomes)
    if not attacked.any():
        return None
    spent = np.where(outcomes.first_success == NEVER, outcomes.forwards, outcomes.first_success)[attacked]
    return float(spent.mean()), float(np.median(spent))


def withheld(outcomes: Outcomes) -> NDArray[np.bool_]:
    """[n]: an attack knew of a success and returned an image that fails.

    Where the harness looks at answers only now and then, passes are charged until it tells of a success:
    until then no attack can know. What it made of those that it was told of at once decides for the others.
    """
    told_at_once: NDArray[np.bool_] = outcomes.forwards == outcomes.first_success
    lost: NDArray[np.bool_] = outcomes.lost & told_at_once
    returned = outcomes.correct & ~outcomes.robust & ~outcomes.lost & told_at_once
    return outcomes.lost if lost.sum() > returned.sum() else lost


@dataclass(frozen=True)
class Favourite:
    """The class that a network answers most often to clean images."""

    answer: int
    given: int  # examples that got it
    others: int  # examples of other classes
    caught: int  # of those, examples that got it, too

    @property
    def is_all(self) -> bool:
        """Whether hardly anything is told apart: 95 % of at least ten of other classes get it, too."""
        return self.others >= 10 and self.caught >= 0.95 * self.others


def favourite(outcomes: Outcomes) -> Favourite | None:
    """The most frequent clean answer; None where every image is refused."""
    answered = outcomes.clean[outcomes.clean != REFUSED]
    if not len(answered):
        return None
    values, counts = np.unique(answered, return_counts=True)
    answer, others = int(values[counts.argmax()]), outcomes.labels != values[counts.argmax()]
    caught = int((outcomes.clean[others] == answer).sum())
    return Favourite(answer, int(counts.max()), int(others.sum()), caught)


@dataclass(frozen=True)
class Reordered:
    """What another order of the classes makes of clean answers that did not choose it."""

    n: int
    right: int  # as the answers are
    won: int  # right in the other order alone
    lost: int  # right as they are alone

    @property
    def right_then(self) -> int:
        """Right in the other order."""
        return self.right + self.won - self.lost

    @property
    def is_better(self) -> bool:
        """More than twice as many are right, and not by luck (exact McNemar, p < 0.001)."""
        return self.right_then > 2 * self.right and mcnemar(self.won, self.lost) < 0.001


def reordered(outcomes: Outcomes) -> Reordered | None:
    """The clean answers renamed class by class, as suits every second example best, on the others.

    None where half of all are right as they are, or fewer than two are answered: nobody doubts the order.
    """
    answered = outcomes.clean != REFUSED
    labels, answers = outcomes.labels[answered], outcomes.clean[answered]
    if len(labels) < 2 or 2 * int((labels == answers).sum()) >= len(labels):
        return None
    from scipy.optimize import linear_sum_assignment

    size = int(max(labels.max(), answers.max())) + 1
    together = np.zeros((size, size), np.int64)
    np.add.at(together, (answers[::2], labels[::2]), 1)
    _, renamed = linear_sum_assignment(together, maximize=True)
    right, then = labels[1::2] == answers[1::2], labels[1::2] == renamed[answers[1::2]]
    return Reordered(len(right), int(right.sum()), int((then & ~right).sum()), int((right & ~then).sum()))


def below_chance(right: int, n: int, classes: int) -> bool:
    """Whether fewer of n answers are right than a guess among so many classes makes it (exact, p < 0.001).

    >>> below_chance(0, 100, 10), below_chance(5, 100, 10)
    (True, False)
    """
    from scipy.stats import binomtest

    return bool(binomtest(right, n, 1 / classes, alternative="less").pvalue < 0.001)
