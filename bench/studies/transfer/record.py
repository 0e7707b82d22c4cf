"""A transfer matrix: what images made on each network leave of every one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.records import recount_studies
from bench.records.heading import Heading
from bench.records.record import Interval
from bench.records.upgrades import Upgrade, noted, with_budget

SCHEMA = 2


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    runs = data["spec"]["runs"]
    networks = [noted(one, run) for one, run in zip(data["networks"], runs, strict=True)]
    return with_budget(data, runs[0]) | {"networks": networks}


UPGRADES: Mapping[int, Upgrade] = {1: _from_1}
"""Schema -> what makes the next of it."""


@dataclass(frozen=True, kw_only=True)
class Transfer(Heading):
    """Every network against the images of every one; sources are rows, targets columns, in one order."""

    attack: str  # with every parameter
    knowledge: str  # of the network that images are made on
    robust: tuple[tuple[Interval, ...], ...]  # [source][target], over all n examples

    def white_box(self, source: int, target: int) -> bool:
        """Whether the images were made on the very network that they are shown to."""
        made, shown = self.networks[source], self.networks[target]
        return made.training_id == shown.training_id or made.sha256 == shown.sha256


RECORD = Transfer


def contradictions(found: Transfer) -> Iterator[str]:
    """One sentence for each thing that a matrix says in two ways."""
    yield from recount_studies.contradictions(found)
    if {len(found.robust), *map(len, found.robust)} != {len(found.networks)}:
        yield f"it is no square of {len(found.networks)} networks"
    shares = {f"robust.{a}.{b}": one for a, row in enumerate(found.robust) for b, one in enumerate(row)}
    yield from recount_studies.of_all(found, shares)


def summary(found: Transfer) -> str:
    """A matrix in a line."""
    names = ", ".join(found.labels)
    return f"{names} on {found.data}, {found.budget}, seed {found.seed}, n = {found.examples:,}"


def whole(found: Transfer, _: Path) -> Transfer:
    """No report needs the images."""
    return found
