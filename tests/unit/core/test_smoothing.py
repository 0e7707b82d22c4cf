"""What votes prove, against scipy's exact binomial test and the normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from bench.core.smoothing import certified_radius, largest_share, least_share

COUNTS = np.array([0, 1, 37, 50, 51, 80, 99, 100])


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_both_bounds_are_those_of_the_exact_binomial_test(alpha):
    for bound, alternative, end in ((least_share, "greater", "low"), (largest_share, "less", "high")):
        tests = [binomtest(int(count), 100, alternative=alternative) for count in COUNTS]
        known = [getattr(test.proportion_ci(1 - alpha, method="exact"), end) for test in tests]
        assert bound(COUNTS, 100, alpha).tolist() == pytest.approx(known, abs=1e-9)


def test_a_share_at_the_bound_is_as_rare_as_said():
    """At the least share, so many votes or more come with chance alpha."""
    for count in COUNTS[1:]:
        share = float(least_share(np.array([count]), 100, 0.01)[0])
        assert binomtest(int(count), 100, share, alternative="greater").pvalue == pytest.approx(
            0.01, rel=1e-6
        )


def test_radii_are_quantiles_of_the_bound_and_nothing_up_to_a_half():
    share = least_share(COUNTS, 100, 0.001)
    found = certified_radius(COUNTS, 100, 0.001, sigma=0.5)
    assert found.tolist() == pytest.approx([0.5 * norm.ppf(p) if p > 0.5 else 0.0 for p in share])
    assert (found > 0).sum() == 3, "80, 99 and 100 of 100; at 51 nothing is certain"
    assert certified_radius(np.array([100_000]), 100_000, 0.001, 1.0)[0] == pytest.approx(3.81, abs=0.01)


def test_more_votes_prove_more():
    """Nine of ten, ever more often: the radius rises to that of nine tenths."""
    many = (100, 1000, 10**4, 10**6)
    found = [float(certified_radius(np.array([9 * n // 10]), n, 0.001, 1.0)[0]) for n in many]
    assert found == sorted(found) and found[-1] == pytest.approx(norm.ppf(0.9), abs=0.01)
