"""Paired differences against published examples and against the formula written out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.core.paired import Difference, holm, mcnemar, paired_difference, paired_differences

Z = 1.959963984540054


def of_counts(both: int, won: int, lost: int, neither: int) -> Difference:
    held = np.repeat([True, True, False, False], [both, won, lost, neither])
    other = np.repeat([True, False, True, False], [both, won, lost, neither])
    order = np.random.default_rng(0).permutation(len(held))
    return paired_difference(held[order], other[order])


@pytest.mark.parametrize(
    ("counts", "value", "low", "high"),
    [
        ((14, 5, 0, 22), 0.122, 0.011, 0.226),  # Altman et al., Statistics with Confidence, 2000, chapter 6
        ((36, 12, 2, 0), 0.2, 0.0569, 0.3404),  # Newcombe, 1998, table of examples, method 10
        ((1, 1, 7, 12), -0.286, -0.507, -0.026),  # Fagerland, Lydersen, Laake, 2014: Bentur et al.
    ],
)
def test_published_examples(counts: tuple[int, int, int, int], value: float, low: float, high: float) -> None:
    found = of_counts(*counts)
    digits = 4 if round(high, 3) != high else 3
    assert (round(found.value, 3), round(found.low, digits), round(found.high, digits)) == (value, low, high)
    assert (found.won, found.lost, found.n) == (counts[1], counts[2], sum(counts))


def wilson(count: int, n: int) -> tuple[float, float]:
    p, below = count / n, 1 + Z * Z / n
    middle, spread = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return (middle - spread) / below, (middle + spread) / below


def by_hand(e: int, f: int, g: int, h: int) -> tuple[float, float]:
    n = e + f + g + h
    p, q = (e + f) / n, (e + g) / n
    (l1, u1), (l2, u2) = wilson(e + f, n), wilson(e + g, n)
    margins = (e + f) * (g + h) * (e + g) * (f + h)
    cross = e * h - f * g
    corrected = cross - n / 2 if cross > n / 2 else 0 if cross >= 0 else cross
    phi = corrected / math.sqrt(margins) if margins else 0
    lower = math.sqrt(max((p - l1) ** 2 - 2 * phi * (p - l1) * (u2 - q) + (u2 - q) ** 2, 0))
    upper = math.sqrt(max((u1 - p) ** 2 - 2 * phi * (u1 - p) * (q - l2) + (q - l2) ** 2, 0))
    return p - q - lower, p - q + upper


def test_every_table_of_nine() -> None:
    tables = [c for c in itertools.product(range(10), repeat=4) if sum(c) == 9]
    assert len(tables) == math.comb(12, 3)
    for counts in tables:
        found = of_counts(*counts)
        assert (found.low, found.high) == pytest.approx(by_hand(*counts), abs=1e-9), counts
        assert -1 - 1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
        both, won, lost, neither = counts
        turned = of_counts(both, lost, won, neither)
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9), counts


def test_many_examples_give_the_interval_of_wald() -> None:
    both, won, lost, neither = 40_000, 6_000, 9_000, 45_000
    n = both + won + lost + neither
    half = Z * math.sqrt(won + lost - (won - lost) ** 2 / n) / n
    found = of_counts(both, won, lost, neither)
    assert (found.low, found.high) == pytest.approx((-0.03 - half, -0.03 + half), abs=2e-5)


def test_pairing_narrows_the_interval() -> None:
    same, crossed = of_counts(450, 20, 30, 500), of_counts(220, 250, 260, 270)
    assert same.value == crossed.value == -0.01
    assert same.high - same.low < 0.4 * (crossed.high - crossed.low)


def test_the_same_examples_are_needed() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        paired_difference(np.ones(3, bool), np.ones(2, bool))


def tail(won: int, lost: int) -> float:
    """Twice the smaller tail of Binomial(won + lost, 1/2), in whole numbers until the last division."""
    n, less = won + lost, min(won, lost)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(less + 1)) / 2**n)


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (1, 7, 0.0703125),  # 2 (1 + 8) / 2^8; Fagerland, Lydersen, Laake, 2014: Bentur et al.
        (2, 9, 0.0654296875),  # 2 (1 + 11 + 55) / 2^11
        (12, 5, 0.1434631),  # 2 (1 + 17 + 136 + 680 + 2380 + 6188) / 2^17
        (121, 59, 0.0000044),
        (0, 0, 1.0),
        (0, 1, 1.0),
        (0, 5, 0.0625),
    ],
)
def test_exact_mcnemar(won: int, lost: int, p: float) -> None:
    assert mcnemar(won, lost) == mcnemar(lost, won) == pytest.approx(tail(won, lost), rel=1e-9)
    assert mcnemar(won, lost) == pytest.approx(p, abs=5e-5)


def test_holm_by_hand() -> None:
    assert holm([]) == [] and holm([0.2]) == [0.2]
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # 5 x .001, 4 x .008, 3 x .039 = .117, 2 x .041 = .082 raised to .117, .6
    assert holm([0.6, 0.041, 0.039, 0.008, 0.001]) == pytest.approx([0.6, 0.117, 0.117, 0.032, 0.005])
    assert holm([0.5, 0.9]) == [1.0, 1.0], "no p value is over 1"


def test_under_the_null_holm_rejects_anything_in_one_family_of_twenty_at_most() -> None:
    draws = np.random.default_rng(0).random((4000, 6))
    families = np.mean([min(holm(list(family))) < 0.05 for family in draws])
    assert families == pytest.approx(1 - (1 - 0.05 / 6) ** 6, abs=0.01) and families < 0.055


def test_mcnemar_under_the_null_is_never_too_bold() -> None:
    for n in range(1, 40):
        chance = sum(math.comb(n, k) for k in range(n + 1) if mcnemar(k, n - k) < 0.05) / 2**n
        assert chance < 0.05


def test_many_pairs_at_once_are_those_one_by_one() -> None:
    rng = np.random.default_rng(0)
    held = rng.random((5, 40)) < np.array([[0.0], [0.2], [0.5], [0.9], [1.0]])
    pairs = [(i, j) for i in range(5) for j in range(5)]
    assert paired_differences(held, pairs) == [paired_difference(held[i], held[j]) for i, j in pairs]
    assert paired_differences(held, []) == []


def test_mcnemars_test_is_scipys_binomial_test() -> None:
    for won in range(0, 60, 7):
        for lost in range(1, 200, 13):
            assert mcnemar(won, lost) == pytest.approx(binomtest(won, won + lost).pvalue, rel=1e-12)
