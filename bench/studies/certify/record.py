"""A certificate: what is proven about one defense, and what attacks leave of it, at each radius."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.records import documents, recount_studies
from bench.records.arrays import Arrays, packed
from bench.records.heading import STRICT, Heading
from bench.records.kinds import Amount, Count, Radius, Sha256
from bench.records.record import Finding, Interval
from bench.records.recount import ROUNDING
from bench.records.upgrades import Upgrade

SCHEMA = 1

UPGRADES: Mapping[int, Upgrade] = {}
"""Schema -> what makes the next of it."""

EXAMPLES = "examples.npz"
"""The file beside the record."""

MethodName = Literal["smoothing", "bounds"]

BoundsName = Literal["crown", "ibp"]

ABSTAINED = -1
"""The answer of a smoothed classifier whose votes prove nothing."""


@dataclass(frozen=True)
class Bracket:
    """Robust accuracy at one radius lies between two shares of all n examples."""

    __pydantic_config__ = STRICT

    value: Radius  # exact: "8/255"
    at: Amount  # the same as a number
    certified: Interval  # right, and proven to stay so within the radius
    stands: Interval  # right, and broken by no attack at this radius or a smaller one
    undecided: Count  # stand, and nothing is proven
    contradicted: Count  # proven, and broken: what cannot be
    by_luck: Count  # proven of infinitely many votes, and not standing by finitely many that are near a half


@dataclass(frozen=True)
class Smoothing:
    """How votes were counted."""

    __pydantic_config__ = STRICT

    sigma: Amount  # of the noise, in pixel units
    selection: Count  # noisy copies that chose the class
    samples: Count  # others, that counted it
    alpha: Amount  # the chance that the count misleads, for each example
    abstained: Count  # examples without a class that is proven the likeliest
    mean_radius: Amount  # over all examples, 0 where wrong or abstained


@dataclass(frozen=True, kw_only=True)
class Certificate(Heading):
    """One defense, bracketed."""

    method: MethodName
    bounds: BoundsName | None  # None: by smoothing
    smoothing: Smoothing | None  # None: by bounds
    suite: str  # whose trials attack, each what those before it left
    attacks: tuple[str, ...]  # each with every parameter
    brackets: tuple[Bracket, ...]  # by rising radius
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    proof_seconds: Amount  # of `seconds`, what the proof took
    examples_sha256: Sha256  # of the file with every example beside the record

    @property
    def bracket(self) -> Bracket:
        """That of the run's radius."""
        return next(held for held in self.brackets if Fraction(held.value) == Fraction(self.eps))

    @property
    def proof(self) -> str:
        """The method as tables print it."""
        if self.smoothing is None:
            return f"bounds ({self.bounds})"
        held = self.smoothing
        return f"smoothing (sigma {held.sigma:g}, {held.samples:,} samples, alpha {held.alpha:g})"


@dataclass(frozen=True)
class Examples:
    """What was found for each of n examples, at R radii."""

    ids: NDArray[np.int64]  # [n] positions in the test set
    labels: NDArray[np.int64]  # [n]
    answers: NDArray[np.int64]  # [n] the class that is proven something of, or ABSTAINED
    radius: NDArray[
        np.float64
    ]  # [n] within which the answer is proven; of bounds, the largest that was tried
    stands: NDArray[np.bool_]  # [n, R] right, and broken at no radius up to this one
    contradicted: NDArray[np.bool_]  # [n, R] proven at this radius and certainly broken there

    def certified(self, at: float, open_ball: bool) -> NDArray[np.bool_]:
        """[n]: right, and proven at a radius; of smoothing, whose ball is open, at less than its own."""
        proven = self.radius > at if open_ball else self.radius >= at - ROUNDING
        found: NDArray[np.bool_] = (self.answers == self.labels) & proven
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name."""
        return dict(vars(self))


RECORD = Certificate


@dataclass(frozen=True)
class Certified:
    """A certificate with every example behind it."""

    record: Certificate
    of: Examples


def contradictions(found: Certificate) -> Iterator[str]:
    """One sentence for each thing that a certificate says in two ways."""
    yield from recount_studies.contradictions(found)
    if (found.bounds is None) == (found.smoothing is None):
        yield "it is by both bounds and smoothing, or by neither"
    shares = {f"brackets.{at}.certified": held.certified for at, held in enumerate(found.brackets)}
    shares |= {f"brackets.{at}.stands": held.stands for at, held in enumerate(found.brackets)}
    yield from recount_studies.of_all(found, shares)
    if not any(Fraction(held.value) == Fraction(found.eps) for held in found.brackets):
        yield f"it has no bracket at its radius {found.eps}"
    for at, held in enumerate(found.brackets):
        yield from _of_bracket(f"brackets.{at}", held)
    for at, (small, large) in enumerate(zip(found.brackets, found.brackets[1:], strict=False), start=1):
        if large.at <= small.at:
            yield f"brackets.{at} is at {large.at:g}, after {small.at:g}"
        if large.certified.count > small.certified.count or large.stands.count > small.stands.count:
            yield f"brackets.{at} keeps more than a smaller radius does"
    blocked = any(finding.severity == "block" for finding in found.findings)
    if blocked != any(held.contradicted for held in found.brackets):
        yield "its findings and its brackets do not agree on whether a proven example was broken"


def _of_bracket(place: str, held: Bracket) -> Iterator[str]:
    if abs(float(Fraction(held.value)) - held.at) > ROUNDING:
        yield f"{place} is at {held.at:g}, and {held.value} in words"
    proven = held.stands.count - held.undecided + held.contradicted + held.by_luck
    if proven != held.certified.count:
        yield f"{place} certifies {held.certified.count}, and its other figures leave {proven}"


def summary(found: Certificate) -> str:
    """A certificate in a line."""
    held = found.bracket
    where = f"{found.network.defense} on {found.data}, {found.budget}, seed {found.seed}"
    return f"{where}: {100 * held.certified.value:.1f} % certified, {100 * held.stands.value:.1f} % unbroken"


def whole(found: Certificate, folder: Path) -> Certified:
    """A certificate with every example, from the folder of its file.

    Raises:
        BadData: the file of examples is missing, damaged, or not the record's.
    """

    def unpack(held: Arrays) -> Examples:
        examples = Examples(**held)
        counts = [int(examples.stands[:, at].sum()) for at in range(len(found.brackets))]
        if counts != [held.stands.count for held in found.brackets]:
            raise ValueError("its examples are not those that the record counts")
        return examples

    again = "bench certify with --rerun"
    return Certified(found, documents.beside(folder / EXAMPLES, found.examples_sha256, unpack, again))


def pack(examples: Examples) -> bytes:
    """Every example as one file."""
    return packed(examples.arrays())
