"""Under which norms an attack can be run: each says so in a class variable `norms`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from bench.core.threat import Budget, Norm
from bench.errors import BadValue

ALL = tuple(Norm)
LINF_L2 = (Norm.LINF, Norm.L2)
"""What an attack is taken for that declares nothing."""


def norms_of(attack: object) -> tuple[Norm, ...]:
    """The norms that an attack declares; one made of attacks has what all of these have."""
    declared: tuple[Norm, ...] | None = getattr(attack, "norms", None)
    if declared is not None:
        return declared
    held = [norms_of(inner) for inner in _held(attack)]
    return tuple(norm for norm in ALL if all(norm in norms for norms in held)) if held else LINF_L2


def require_norm(attack: object, budget: Budget, name: str | None = None) -> None:
    """Refuse a budget whose norm the attack does not have; `name` is how the user calls it.

    >>> class Dots:
    ...     norms = (Norm.L0,)
    >>> from fractions import Fraction
    >>> require_norm(Dots(), Budget(Norm.L1, Fraction(10)), "dots")
    Traceback (most recent call last):
    bench.errors.BadValue: the attack dots has L0, but the budget's norm is L1; try: bench list attacks
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

    >>> told(ALL), told([Norm.L2])
    ('Linf, L2, L1 and L0', 'L2')
    """
    *others, last = [norm.value for norm in norms] or ["none of them"]
    return f"{', '.join(others)} and {last}" if others else last


def _held(attack: object) -> Iterator[object]:
    """The attacks in an attack's fields."""
    if not dataclasses.is_dataclass(attack):
        return
    for item in dataclasses.fields(attack):
        value = getattr(attack, item.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(inner) and callable(inner):
                yield inner
