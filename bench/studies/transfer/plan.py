"""What `bench transfer` will do: networks, the attack that makes images on each, and the id of all that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from bench.api import Suite, Trial
from bench.attacks.others.signature import column_of
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX
from bench.errors import BadValue
from bench.plan import Request, RunSpec, attack_named, plan_each
from bench.studies.spec import Part, StudySpec

USUAL = "pgd_100"
"""The attack of whoever names none: the one that gray-box attackers use."""

_USUAL = PGD(steps=100, step_size=Fraction(1, 10))


@dataclass(frozen=True)
class TransferSpec(StudySpec):
    """All that decides one matrix."""

    name: ClassVar[str] = "transfer"

    attacked: tuple[RunSpec, ...]  # one for each network, in the order of rows and columns

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {"runs": [run.encoded() for run in self.runs]}

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """White-box on one network each; a network that is named twice is there twice."""
        return self.attacked

    @property
    def title(self) -> str:
        """What is measured, as progress says it."""
        return f"transfer of {self.trial.column} images"

    @property
    def trial(self) -> Trial:
        """The attack that makes the images."""
        return self.attacked[0].suite.trials[0]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Images belong to the network that they are made on: a larger matrix has those of a smaller one."""
        apart = {run.id: run for run in self.attacked}
        return tuple(Part(ident, run.encoded(), tuple(run.modules)) for ident, run in apart.items())


def plan(names: Sequence[str], request: Request, attack: str = USUAL) -> list[TransferSpec]:
    """One matrix of all networks; names are NAME or NAME@ARCH, the rest is common to all.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    if len(names) < 2:
        other = "pgd_at" if names[0] == "standard" else "standard"
        raise BadValue(
            f"{names[0]!r} is one network, expected at least two, so that images can go from one to another",
            f"bench transfer {names[0]} {other}",
        )
    suite = Suite("transfer", 1, (_trial(attack),))
    runs = dict(zip(dict.fromkeys(names), plan_each(names, request, suite), strict=True))
    return [TransferSpec(tuple(runs[name] for name in names))]


def _trial(attack: str) -> Trial:
    """An attack by its name."""
    chosen = _USUAL if attack == USUAL else attack_named(attack)
    return Trial(column_of(attack), chosen, WHITE_BOX)
