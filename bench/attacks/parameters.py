"""What attacks check of their own parameters, so that a mistake is one sentence and not a strange table."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from bench.errors import BadValue


def require_count(attack: str, name: str, value: object, least: int = 1) -> None:
    """A whole number of at least `least`.

    >>> require_count("PGD", "steps", 0)
    Traceback (most recent call last):
    bench.errors.BadValue: PGD.steps is 0, expected a whole number of at least 1; try: steps=1
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadValue(
            f"{attack}.{name} is {value!r}, expected a whole number of at least {least}", f"{name}={least}"
        )


def require_fraction_of_eps(attack: str, name: str, value: object) -> None:
    """An exact fraction of eps above zero.

    >>> require_fraction_of_eps("PGD", "step_size", 0.25)
    Traceback (most recent call last):
    bench.errors.BadValue: PGD.step_size is 0.25, expected a Fraction of eps above 0; try: step_size=1/4
    """
    if not isinstance(value, Fraction) or value <= 0:
        shown = str(value) if isinstance(value, Fraction) else repr(value)
        raise BadValue(f"{attack}.{name} is {shown}, expected a Fraction of eps above 0", f"{name}=1/4")


def require_one_of(attack: str, name: str, value: object, choices: Collection[str]) -> None:
    """One of a few names.

    >>> require_one_of("PGD", "schedule", "linear", ("constant", "cosine"))
    Traceback (most recent call last):
    bench.errors.BadValue: PGD.schedule is 'linear', expected one of constant, cosine; try: schedule=constant
    """
    if value not in choices:
        raise BadValue(
            f"{attack}.{name} is {value!r}, expected one of {', '.join(choices)}",
            f"{name}={next(iter(choices))}",
        )


def require_between(attack: str, name: str, value: float, low: float, high: float) -> None:
    """A number in [low, high].

    >>> require_between("Square", "p_init", 1.5, 0, 1)
    Traceback (most recent call last):
    bench.errors.BadValue: Square.p_init is 1.5, expected a number from 0 to 1; try: p_init=0.5
    """
    if not low <= value <= high:
        raise BadValue(
            f"{attack}.{name} is {value!r}, expected a number from {low} to {high}",
            f"{name}={(low + high) / 2:g}",
        )
