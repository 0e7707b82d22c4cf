"""Balanced accuracy against closed forms, statsmodels' definition of Wilson's interval, and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from bench.core.by_class import Counted, balanced, count_by_class, wilson


def counted(*pairs):
    return [Counted(label, n, held) for label, (held, n) in enumerate(pairs)]


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (3, 10), (451, 1000), (1, 1)])
def test_wilson_is_scipys(count, n):
    theirs = binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count / n, n) == pytest.approx((count / n, theirs.low, theirs.high), abs=1e-12)


def test_each_class_is_counted_once():
    labels, held = np.array([2, 0, 2, 2, 0]), np.array([True, False, False, True, True])
    assert list(count_by_class(labels, held)) == [Counted(0, 2, 1), Counted(2, 3, 2)]


def test_the_mean_is_over_classes_and_not_over_examples():
    value, low, high = balanced(counted((90, 100), (1, 10)))  # (0.9 + 0.1) / 2, where 91 of 110 are right
    assert value == pytest.approx(0.5)
    # V = (0.9 * 0.1 / 100 + 0.1 * 0.9 / 10) / 4 = 0.002475, and V of equally hard classes is
    # 0.25 * (1/100 + 1/10) / 4 = 0.006875: the larger decides, which is that of n = 4 / 0.11 examples
    assert (low, high) == pytest.approx(wilson(0.5, 4 / 0.11)[1:])


def test_an_uncertain_rare_class_makes_the_mean_uncertain():
    value, low, high = balanced(counted((5, 10), (1000, 1000)))
    # V = 0.25 / 10 / 4 = 0.00625, more than 0.75 * 0.25 * (1/10 + 1/1000) / 4 = 0.00473
    assert value == 0.75
    assert (low, high) == pytest.approx(wilson(0.75, 0.75 * 0.25 / 0.00625)[1:])


@pytest.mark.parametrize("held", [(3, 8, 5), (0, 0, 0), (10, 10, 10), (0, 10, 5)])
def test_of_classes_of_equal_size_it_is_the_plain_interval(held):
    theirs = binomtest(sum(held), 30).proportion_ci(method="wilson")
    found = balanced(counted(*((count, 10) for count in held)))
    assert found == pytest.approx((sum(held) / 30, theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("truth", [(0.5, 0.5), (0.9, 0.4), (0.2, 0.8), (0.05, 0.95)])
def test_it_holds_the_truth_as_often_as_it_says(truth):
    """Over every outcome of 12 examples of one class and 40 of another, weighed by its probability."""
    sizes = (12, 40)
    covered = 0.0
    for held in itertools.product(*(range(n + 1) for n in sizes)):
        chance = np.prod([binom.pmf(k, n, p) for k, n, p in zip(held, sizes, truth, strict=True)])
        _, low, high = balanced(counted(*zip(held, sizes, strict=True)))
        covered += chance * (low <= sum(truth) / 2 <= high)
    assert covered > 0.94
