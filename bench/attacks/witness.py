"""What attacks that ask about images outside the budget return, and when they look whether they are done."""

from __future__ import annotations

from torch import Tensor

from bench.api import Oracle
from bench.attacks.geometry import project
from bench.core.threat import Budget

EVERY = 16
"""After how many queries an attack looks whether anything is left: a GPU must be waited for to know it."""


def or_else(oracle: Oracle, x_adv: Tensor, x: Tensor, budget: Budget) -> Tensor:
    """What broke each example, and `x_adv` [n, C, H, W], projected, for the others.

    The referee judges the projection of what was asked. So where an attack asks about a neighbour, a
    transformed copy or the far end of a ray, its iterate is not what succeeded: this is.
    """
    return oracle.witnesses(project(x_adv, x, budget))


def all_broken(oracle: Oracle, asked: int) -> bool:
    """Whether nothing is left to do after so many queries, as far as it is time to look."""
    return asked % EVERY == 0 and bool(oracle.broken().all())
