"""Names that tell what stands side by side apart, and no longer than that takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.records.heading import Heading

_PRETTY: ContextVar[Mapping[str, str]] = ContextVar("pretty")


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """In here `pretty` knows these: defense, with or without its fields -> what a paper calls it."""
    token = _PRETTY.set(names)
    try:
        yield
    finally:
        _PRETTY.reset(token)


def pretty(defense: str) -> str:
    """What figures and tables of papers call a defense; its fields stand behind a name that is not theirs.

    >>> with renamed({"agkd_bml": "AGKD-BML", "trades[beta=1]": "TRADES-1"}):
    ...     pretty("agkd_bml[margin=5]"), pretty("trades[beta=1]"), pretty("mart")
    ('AGKD-BML [margin=5]', 'TRADES-1', 'mart')
    """
    names = _PRETTY.get({})
    if defense in names:
        return names[defense]
    base, bracket, fields = defense.partition("[")
    return f"{names[base]} {bracket}{fields}".rstrip() if base in names else defense


def told_apart(names: Sequence[str], *parts: Sequence[str]) -> list[str]:
    """The names, those that are not alone with each part that tells it from another of that name.

    Every part has one text for each name; the first that differ come first.

    >>> told_apart(["a", "a", "b"], ["@lenet", "@lenet", "@lenet"], [" seed 0", " seed 1", " seed 0"])
    ['a seed 0', 'a seed 1', 'b']
    """
    found = list(names)
    for part in parts:
        for name in {name for name in found if found.count(name) > 1}:
            places = [place for place, held in enumerate(found) if held == name]
            if len({part[place] for place in places}) > 1:
                for place in places:
                    found[place] += part[place]
    return found


def labels(found: Sequence[Heading]) -> list[str]:
    """A name for each, with its architecture where they differ, and whatever else tells equal names apart."""
    several = len({one.network.architecture for one in found}) > 1
    return told_apart(
        [
            f"{pretty(one.network.defense)}@{one.network.architecture}"
            if several
            else pretty(one.network.defense)
            for one in found
        ],
        [f", seed {one.seed}" for one in found],
        [f", {one.network.recipe}" for one in found],
        [f", {one.id[:6]}" for one in found],
    )
