"""Under which norms an attack can be run: each says so in a class variable `norms`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.api import Attack, nested
from bench.core.threat import EVERY_NORM, Budget, Norm
from bench.errors import BadValue


def norms_of(attack: Attack) -> tuple[Norm, ...]:
    """The norms that an attack declares and all that it is made of."""
    return tuple(norm for norm in EVERY_NORM if all(norm in part.norms for part in nested(attack)))


def require_norm(attack: Attack, budget: Budget, name: str | None = None) -> None:
    """Refuse a budget whose norm the attack does not have; `name` is how the user calls it.

    >>> from bench.attacks.ddn import DDN
    >>> from fractions import Fraction
    >>> require_norm(DDN(), Budget(Norm.L1, Fraction(10)), "ddn")
    Traceback (most recent call last):
    bench.errors.BadValue: the attack ddn has L2, but the budget's norm is L1; try: bench list attacks
    """
    norms = norms_of(attack)
    if budget.norm in norms:
        return
    raise BadValue(
        f"the attack {name or type(attack).__name__} has {told(norms)}, but the budget's norm is "
        f"{budget.norm.value}",
        "bench list attacks",
    )


def told(norms: Sequence[Norm]) -> str:
    """Norms as a sentence names them.

    >>> told(EVERY_NORM), told([Norm.L2])
    ('Linf, L2, L1 and L0', 'L2')
    """
    *others, last = [norm.value for norm in norms] or ["none of them"]
    return f"{', '.join(others)} and {last}" if others else last
