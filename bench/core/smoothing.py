"""What counts of votes on noisy images prove (Cohen, Rosenfeld, Kolter, ICML 2019, arXiv 1902.02918)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def least_share(counts: NDArray[np.int64], n: int, alpha: float) -> NDArray[np.float64]:
    """The one-sided Clopper-Pearson bound [m] below the share behind counts [m] of n; alpha: it errs.

    >>> round(float(least_share(np.array([100]), 100, 0.001)[0]), 6)  # alpha ** (1 / n)
    0.933254
    """
    from scipy.stats import beta  # slow to load, and what reads records needs it not

    low = beta.ppf(alpha, counts, n - counts + 1)
    return np.where(counts == 0, 0.0, low).astype(np.float64)


def largest_share(counts: NDArray[np.int64], n: int, alpha: float) -> NDArray[np.float64]:
    """The same above it.

    >>> round(float(largest_share(np.array([0]), 100, 0.001)[0]), 6)
    0.066746
    """
    return 1 - least_share(n - counts, n, alpha)


def certified_radius(counts: NDArray[np.int64], n: int, alpha: float, sigma: float) -> NDArray[np.float64]:
    """L2 radii [m] inside which a class stays the likeliest, of its counts [m] of n votes; 0: abstain.

    sigma times the normal quantile of the least share behind the counts, where that is above a half: theorem
    1 with 1 - p for the runner-up, as in the paper's section 3.2.2.

    >>> certified_radius(np.array([50, 99]), 100, 0.001, 1.0).round(3)
    array([0.   , 1.349])
    """
    from scipy.stats import norm

    share = least_share(counts, n, alpha)
    return np.where(share > 0.5, sigma * norm.ppf(np.maximum(share, 0.5)), 0.0).astype(np.float64)
