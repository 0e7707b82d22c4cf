"""What papers claim of the defenses of the table, what others measured of theirs, and where each paper is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal, cast, get_args

from bench.records.beside import rows
from bench.records.presets import without_preset
from bench.records.record import Record

ClaimKind = Literal["claimed", "measured", "retrained"]
"""By its authors; by others on its authors' weights; by others who trained it themselves."""


@dataclass(frozen=True)
class Claim:
    """One published number; shares in [0, 1]."""

    defense: str
    data: str
    norm: str
    eps: Fraction
    architecture: str
    attack: str
    clean: float | None
    robust: float
    kind: ClaimKind
    source: str


@cache
def claims() -> tuple[Claim, ...]:
    """Every published number that is known here; methods known from an abstract alone have none."""
    return tuple(
        Claim(
            defense=row["defense"],
            data=row["data"],
            norm=row["norm"],
            eps=Fraction(row["eps"]),
            architecture=row["architecture"],
            attack=row["attack"],
            clean=float(row["clean"]) / 100 if row["clean"] else None,
            robust=float(row["robust"]) / 100,
            kind=cast(ClaimKind, row["kind"]),
            source=row["source"],
        )
        for row in rows("claims.csv")
    )


def claim_of(record: Record) -> Claim | None:
    """The authors' own number for this defense, data and budget, else the lowest that others measured.

    Others measured on the authors' weights, or where nobody did, on weights that they trained themselves.
    None for a reconstruction, and for a variant with overridden fields that is no preset of this data set.
    """
    if record.reconstruction:
        return None
    defense = without_preset(record.defense, record.data)
    found = [
        claim
        for claim in claims()
        if (claim.defense, claim.data, claim.norm) == (defense, record.data, record.norm)
        and claim.eps == Fraction(record.eps)
    ]
    by_kind = [[claim for claim in found if claim.kind == kind] for kind in get_args(ClaimKind)]
    return min(next(filter(None, by_kind), []), key=lambda claim: claim.robust, default=None)


def link(defense: str) -> str | None:
    """Where the paper of a defense is, by its name with or without overridden fields; None: not known.

    >>> link("trades[beta=3]"), link("no_such_defense")
    ('https://arxiv.org/abs/1901.08573', None)
    """
    return dict(_links()).get(defense.partition("[")[0])


@cache
def _links() -> tuple[tuple[str, str], ...]:
    return tuple((row["defense"], row["link"]) for row in rows("papers.csv"))
