"""What several attackers may all have missed, told by how often only one of them succeeded.

Good (Biometrika 1953), after Turing, and Good & Toulmin (Biometrika 1956): of what is drawn again and again,
that which was seen exactly once tells how much has not been seen yet. Here an attacker that looks by itself
is a draw, and an example that it breaks is what it sees. Where many examples fell to one of k attackers only,
the same k with other random numbers would break others still; where each fell to all, none is to be expected.

No example need be as hard as another, and no attacker as strong. Let attacker j break example i with the
chance p_ij, by random numbers of its own. All k miss it, and break it when they look again, with the chance

    prod_j (1 - p_ij) (1 - prod_j (1 - p_ij)) <= sum_j p_ij prod_(l != j) (1 - p_il),

and on the right is the chance that exactly one of them breaks it. So no more than so many are to be expected.
Another attack may break what none of these can: of that nothing is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SHARE = 0.005
"""So much of all examples may be in doubt where that is good enough: 600 without a sign can say so."""


@dataclass(frozen=True)
class Missed:
    """What attackers, each put on the same examples, leave in doubt."""

    attackers: int
    met: int  # examples that each of them was put on
    broke: int  # examples that any of them broke
    alone: int  # of those, examples that only one of them broke

    @property
    def at_most(self) -> float:
        """What the same attackers again are expected to break, at most, with 95 % confidence.

        By Clopper and Pearson's bound for `alone` of `met`; no more than are left to break.

        >>> round(Missed(attackers=3, met=500, broke=0, alone=0).at_most, 2)
        2.99
        >>> round(Missed(attackers=3, met=500, broke=9, alone=2).at_most, 2)
        6.27
        """
        return min(self._bound, self.left)

    @property
    def left(self) -> int:
        """How many examples none of them broke."""
        return self.met - self.broke

    @property
    def _bound(self) -> float:
        return self.met * most(self.alone, self.met)

    def settled(self, n: int) -> bool:
        """Whether it is said with 95 % confidence that at most half a point of n examples is missing.

        Said by what fell to one attacker alone, not by how few are left: where most of what they met fell,
        and to one of them only, the next look may break all the others.
        """
        return self.left == 0 or self._bound <= SHARE * n


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
