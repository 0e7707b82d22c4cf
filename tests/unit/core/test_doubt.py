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
    assert found.expected == pytest.approx(2 / 3)


@pytest.mark.parametrize("chances", [(0.5, 0.1), (0.3, 0.3), (0.9, 0.02)])
@pytest.mark.parametrize("attackers", [2, 3])
def test_the_estimate_is_what_the_last_of_the_attackers_newly_finds(chances, attackers):
    """By all ways in which coins fall: the mean of alone / k is the sum of p (1 - p)^(k - 1)."""
    mean = 0.0
    for fell in itertools.product([False, True], repeat=attackers * 2):
        table = np.array(fell).reshape(attackers, 2)
        chance = np.prod(np.where(table, chances, 1 - np.array(chances)))
        mean += chance * missed(list(table), met=2).expected
    assert mean == pytest.approx(sum(p * (1 - p) ** (attackers - 1) for p in chances))


@pytest.mark.parametrize(("count", "n"), [(0, 7), (1, 60), (3, 500), (59, 60)])
def test_the_bound_is_where_so_few_are_seen_once_in_twenty(count, n):
    assert binom.cdf(count, n, most(count, n)) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("met", "alone", "n", "settled"),
    [
        (500, 0, 1000, True),
        (500, 1, 1000, True),
        (500, 2, 1000, False),  # 2.09 examples, and 0.2 points are two
        (50, 0, 60, True),  # 0.97 examples
        (50, 1, 60, False),
        (5, 0, 5, True),
        (3, 3, 3, True),  # nothing is left
    ],
)
def test_what_is_in_doubt_is_more_than_two_tenths_of_a_point_and_more_than_an_example(met, alone, n, settled):
    assert Missed(attackers=3, met=met, broke=alone, alone=alone).settled(n) == settled
