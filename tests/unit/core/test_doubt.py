"""What attackers may have missed, against the exact expectation, and bounds against the binomial law."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from bench.core.doubt import Missed, missed, most


def test_examples_are_counted_by_how_many_attackers_broke_them():
    broke = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0]], dtype=bool)
    found = missed(list(broke), met=5)
    assert found == Missed(attackers=3, met=5, broke=4, alone=2)


CHANCES = np.array([[0.5, 0.1, 0.9], [0.3, 0.3, 0.0], [0.02, 1.0, 0.6]])
"""[attackers, examples]: each attacker has its own chance on each example."""


@pytest.mark.parametrize("attackers", [2, 3])
def test_so_many_fall_to_one_alone_that_the_same_again_find_no_more(attackers):
    """By all ways in which coins fall, twice: what a second look newly breaks is no more than fell to one."""
    chances = CHANCES[:attackers]
    alone = newly = 0.0
    tables = [
        np.array(fell).reshape(chances.shape)
        for fell in itertools.product([False, True], repeat=chances.size)
    ]
    weights = [float(np.prod(np.where(table, chances, 1 - chances))) for table in tables]
    for table, weight in zip(tables, weights, strict=True):
        alone += weight * missed(list(table), met=3).alone
        if weight:
            for again, chance in zip(tables, weights, strict=True):
                newly += weight * chance * int((again.any(0) & ~table.any(0)).sum())
    missing = np.prod(1 - chances, axis=0)
    assert newly == pytest.approx(float((missing * (1 - missing)).sum()))
    assert 0 < newly <= alone


@pytest.mark.parametrize(("count", "n"), [(0, 7), (1, 60), (3, 500), (59, 60)])
def test_the_bound_is_where_so_few_are_seen_once_in_twenty(count, n):
    assert binom.cdf(count, n, most(count, n)) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("met", "alone", "n", "settled"),
    [
        (500, 0, 1000, True),  # 2.99 examples
        (500, 1, 1000, True),  # 4.71
        (500, 2, 1000, False),  # 6.27
        (500, 0, 600, True),
        (500, 0, 597, False),
        (50, 0, 60, False),  # so few can never say it
        (3, 3, 3, True),  # nothing is left
    ],
)
def test_what_is_in_doubt_may_be_over_half_a_point(met, alone, n, settled):
    assert Missed(attackers=3, met=met, broke=alone, alone=alone).settled(n) == settled


def test_few_that_are_left_are_looked_at_again_where_the_others_fell_to_one_attacker():
    assert not Missed(attackers=3, met=15, broke=10, alone=6).settled(1000)
    assert Missed(attackers=3, met=15, broke=10, alone=0).settled(1000)
