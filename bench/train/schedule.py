"""Learning rate and attack strength as functions of the optimizer step: a resumed run needs no memory."""

from __future__ import annotations

import math
from fractions import Fraction

from bench.train.recipe import Recipe

_START = 25.0  # one-cycle starts at 1/25 of its largest learning rate
_END = 1e4  # and ends at 1/10,000 of its start


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """The learning rate of optimizer step `step` (from 0) out of `total`.

    >>> learning_rate(Recipe("a", schedule="step", learning_rate=1.0), 50, 100)
    0.1
    """
    largest = recipe.learning_rate
    if recipe.schedule == "constant":
        return largest
    if recipe.schedule == "step":
        # a milestone of 0.7 of 10 steps is step 7, whatever 0.7 * 10 rounds to
        passed = sum(step >= milestone * total - 1e-6 for milestone in recipe.milestones)
        return float(largest * recipe.gamma**passed)
    if recipe.schedule == "cosine":
        return _between(largest, 0.0, step / total)
    if recipe.schedule == "triangle":  # as torch's CyclicLR from 0 and back
        share = step / total
        return largest * min(share / recipe.peak, (1 - share) / (1 - recipe.peak))
    first, last = largest / _START, largest / _START / _END
    peak = max(recipe.peak * total - 1, 0.0)
    if step <= peak:
        return _between(first, largest, step / peak if peak else 1.0)
    return _between(largest, last, (step - peak) / max(total - 1 - peak, 1.0))


def _between(start: float, end: float, share: float) -> float:
    """A half cosine from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def attack_strength(recipe: Recipe, step: int, total: int) -> Fraction:
    """The share of the budget, in (0, 1], that inner attacks may use at a step of `total`."""
    rising = round(recipe.eps_warmup * total)
    return min(Fraction(step + 1, rising), Fraction(1)) if rising else Fraction(1)
