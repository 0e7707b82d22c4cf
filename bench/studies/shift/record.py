"""A shift: what one defense keeps under common corruptions, and when images are turned and moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.records import recount_studies
from bench.records.heading import STRICT, Heading
from bench.records.kinds import Amount, Count
from bench.records.record import Interval
from bench.records.upgrades import Upgrade, with_networks

SCHEMA = 2

UPGRADES: Mapping[int, Upgrade] = {1: with_networks}
"""Schema -> what makes the next of it."""


@dataclass(frozen=True)
class Corrupted:
    """One corruption at one severity."""

    __pydantic_config__ = STRICT

    name: str
    group: str
    severity: Count
    accuracy: Interval  # right answers, over all n examples; a refusal is none
    refused: Count  # examples that a detector turned away
    distance: Amount  # mean L2 distance from the clean images


@dataclass(frozen=True)
class Mean:
    """The mean of n examples' own means, with 1.96 standard errors on both sides."""

    __pydantic_config__ = STRICT

    value: float
    low: float
    high: float
    n: Count


@dataclass(frozen=True)
class Posed:
    """Rotations and translations from a grid."""

    __pydantic_config__ = STRICT

    poses: Count
    degrees: float
    pixels: int
    draws: Count  # random poses of each example
    random: Mean  # right answers in these
    worst_of_draws: Interval  # right or refused in each of these
    worst: Interval  # right or refused in every pose of the grid, and as it stands
    shown: Amount  # images shown for the last one, mean per example


@dataclass(frozen=True, kw_only=True)
class Shift(Heading):
    """One defense under every corruption and severity, and over the grid of poses; no budget bounds these."""

    corrupted: tuple[Corrupted, ...]
    mean: Mean | None  # over all corruptions and severities; None: no corruption was asked for
    posed: Posed | None  # None: not asked for
    left_out: tuple[str, ...]  # corruptions that are not defined for such images

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """Corruptions are drawn."""
        return ("shift",) if self.corrupted else ()

    def why_not(self, kind: str) -> str | None:
        """Poses alone are no figure."""
        del kind
        return None if self.corrupted else "poses alone, which are few figures and need no picture"

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions, in their order."""
        return tuple(dict.fromkeys(held.name for held in self.corrupted))

    def of(self, name: str) -> list[Corrupted]:
        """One corruption, by severity."""
        return [held for held in self.corrupted if held.name == name]

    def mean_of(self, name: str) -> float:
        """One corruption's accuracy, averaged over its severities."""
        held = self.of(name)
        return sum(one.accuracy.value for one in held) / len(held)


RECORD = Shift


def contradictions(found: Shift) -> Iterator[str]:
    """One sentence for each thing that a shift says in two ways."""
    yield from recount_studies.contradictions(found)
    shares = {f"corrupted.{at}.accuracy": one.accuracy for at, one in enumerate(found.corrupted)}
    if found.posed is not None:
        shares |= {"posed.worst_of_draws": found.posed.worst_of_draws, "posed.worst": found.posed.worst}
    yield from recount_studies.of_all(found, shares)
    means = {"mean": found.mean, "posed.random": found.posed.random if found.posed is not None else None}
    for name, mean in means.items():
        if mean is not None and (mean.n != found.examples or not 0 <= mean.value <= 1):
            yield f"{name} is {mean.value:g} of {mean.n} examples, expected a share of {found.examples}"


def summary(found: Shift) -> str:
    """A shift in a line."""
    parts = [f"{len(found.names)} corruptions"] if found.corrupted else []
    parts += [f"{found.posed.poses} poses"] if found.posed is not None else []
    where = f"{found.network.defense} on {found.data}, seed {found.seed}, n = {found.examples:,}"
    return f"{where}: {', '.join(parts)}"


def whole(found: Shift, _: Path) -> Shift:
    """Nothing lies beside a shift."""
    return found
