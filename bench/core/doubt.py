"""What several attackers may all have missed, told by how often only one of them succeeded.

Good (Biometrika 1953), after Turing: of what is drawn again and again, the share of what was seen exactly
once tells how much has never been seen. Here an attacker that looks by itself is a draw, and an example that
it breaks is what it sees: where many examples fell to one of k attackers only, one more attacker would break
others still; where each fell to all of them, none is to be expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SHARE, IMAGES = 0.002, 1.0
"""The doubt that is good enough: so much of all examples, or so many of them."""


@dataclass(frozen=True)
class Missed:
    """What attackers, each put on the same examples, leave in doubt."""

    attackers: int
    met: int  # examples that each of them was put on
    broke: int  # examples that any of them broke
    alone: int  # of those, examples that only one of them broke

    @property
    def expected(self) -> float:
        """Examples that one more such attacker would break: the estimate of Good and Turing."""
        return self.alone / self.attackers

    @property
    def at_most(self) -> float:
        """The same, not exceeded with 95 % confidence: by Clopper and Pearson's bound for `alone` of `met`.

        No more than are left to break.

        >>> round(Missed(attackers=3, met=500, broke=0, alone=0).at_most, 2)
        1.0
        >>> round(Missed(attackers=3, met=500, broke=9, alone=2).at_most, 2)
        2.09
        """
        return min(self.met * most(self.alone, self.met) / self.attackers, self.met - self.broke)

    def settled(self, n: int) -> bool:
        """Whether at most 0.2 points of n examples, or one example, may be missing."""
        return self.at_most <= max(IMAGES, SHARE * n)


def missed(broke: Sequence[NDArray[np.bool_]], met: int) -> Missed:
    """By what each attacker broke, [n] each, of the `met` examples that all of them were put on."""
    times = np.sum([np.asarray(each, dtype=np.int64) for each in broke], axis=0)
    return Missed(len(broke), met, int((times > 0).sum()), int((times == 1).sum()))


def most(count: int, n: int) -> float:
    """The largest share of which `count` of n or fewer are seen with a probability of 5 %.

    The one-sided bound of Clopper and Pearson (Biometrika 1934).

    >>> round(most(0, 50), 4), most(3, 3), most(0, 0)
    (0.0582, 1.0, 0.0)
    """
    if n == 0:
        return 0.0
    from scipy.stats import binomtest  # slow to load

    bound = binomtest(count, n).proportion_ci(confidence_level=2 * CONFIDENCE - 1, method="exact")
    return float(bound.high)
