"""A shift: what one defense keeps under common corruptions, and when images are turned and moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from bench.records.record import Interval, Provenance
from bench.records.transfer import Network

SCHEMA = 1

FOLDER = "shift"

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Corrupted:
    """One corruption at one severity."""

    __pydantic_config__ = _STRICT

    name: str
    group: str
    severity: int
    accuracy: Interval  # right answers, over all n examples; a refusal is none
    refused: int  # examples that a detector turned away
    distance: float  # mean L2 distance from the clean images


@dataclass(frozen=True)
class Mean:
    """The mean of n examples' own means, with 1.96 standard errors on both sides."""

    __pydantic_config__ = _STRICT

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Posed:
    """Rotations and translations from a grid."""

    __pydantic_config__ = _STRICT

    poses: int
    degrees: float
    pixels: int
    draws: int  # random poses of each example
    random: Mean  # right answers in these
    worst_of_draws: Interval  # right or refused in each of these
    worst: Interval  # right or refused in every pose of the grid, and as it stands
    shown: float  # images shown for the last one, mean per example


@dataclass(frozen=True)
class Shift:
    """One defense under every corruption and severity, and over the grid of poses."""

    __pydantic_config__ = _STRICT

    schema: int
    id: str
    network: Network
    data: str
    data_digest: str
    seed: int
    examples: int
    corrupted: tuple[Corrupted, ...]
    mean: Mean | None  # over all corruptions and severities; None: no corruption was asked for
    posed: Posed | None  # None: not asked for
    left_out: tuple[str, ...]  # corruptions that are not defined for such images
    seconds: float
    spec: Mapping[str, Any]
    provenance: Provenance

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
