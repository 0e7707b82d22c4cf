"""What papers claim of the defenses of the table, what others measured of theirs, and where each paper is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

from bench.records.beside import rows
from bench.records.presets import without_preset
from bench.records.record import Record


@dataclass(frozen=True)
class Claim:
    """One published number; shares in [0, 1]. The network is its authors', so is the training."""

    defense: str
    data: str
    norm: str
    eps: Fraction
    architecture: str
    attack: str
    clean: float | None
    robust: float
    kind: Literal["claimed", "measured"]  # by its authors, or by others on its authors' weights
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
            kind="claimed" if row["kind"] == "claimed" else "measured",
            source=row["source"],
        )
        for row in rows("claims.csv")
    )


def claim_of(record: Record) -> Claim | None:
    """The authors' own number for this defense, data and budget, else the lowest that others measured.

    None for a variant with overridden fields, and for a reconstruction; with the preset of its own data set a
    defense is as published.
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
    claimed = [claim for claim in found if claim.kind == "claimed"]
    return min(claimed or found, key=lambda claim: claim.robust, default=None)


def link(defense: str) -> str | None:
    """Where the paper of a defense is, by its name with or without overridden fields; None: not known.

    >>> link("trades[beta=3]"), link("no_such_defense")
    ('https://arxiv.org/abs/1901.08573', None)
    """
    return dict(_links()).get(defense.partition("[")[0])


@cache
def _links() -> tuple[tuple[str, str], ...]:
    return tuple((row["defense"], row["link"]) for row in rows("papers.csv"))
