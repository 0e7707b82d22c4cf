"""A transfer matrix: what images made on each network leave of every one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.records.heading import Heading
from bench.records.record import Interval

SCHEMA = 2


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


def summary(found: Transfer) -> str:
    """A matrix in a line."""
    names = ", ".join(found.labels)
    return f"{names} on {found.data}, {found.budget}, seed {found.seed}, n = {found.examples:,}"


def whole(found: Transfer, _: Path) -> Transfer:
    """No report needs the images."""
    return found
