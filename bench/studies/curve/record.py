"""A curve: what one defense keeps as the radius, the steps, the restarts or the queries of attacks grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from bench.records import recount_studies
from bench.records.heading import STRICT, Heading
from bench.records.kinds import Amount, Radius
from bench.records.record import Finding, Interval
from bench.records.recount import ROUNDING
from bench.records.upgrades import Upgrade, with_networks

SCHEMA = 2

UPGRADES: Mapping[int, Upgrade] = {1: with_networks}
"""Schema -> what makes the next of it."""

Axis = Literal["eps", "steps", "restarts", "queries"]


@dataclass(frozen=True)
class CurvePoint:
    """One measured point; the first is at 0, where nothing is attacked."""

    __pydantic_config__ = STRICT

    value: Radius  # exact: "8/255", "20"
    at: Amount  # the same as a number
    robust: Interval  # by this point alone, over all n examples
    unbroken: Interval  # by this point and every one before it
    forwards: Amount | None  # mean per example, up to here where points go on from each other
    backwards: Amount | None  # None: one attack made all points, see the curve
    seconds: Amount | None


@dataclass(frozen=True, kw_only=True)
class Curve(Heading):
    """One defense along one axis; `eps` is the radius of every point but where the axis is eps."""

    axis: Axis
    attacks: tuple[str, ...]  # each with every parameter, on what those before it left
    knowledge: str
    points: tuple[CurvePoint, ...]
    findings: tuple[Finding, ...]
    whole_box: float | None  # the radius at which every image is allowed; None: another axis

    @property
    def kinds(self) -> tuple[str, ...]:
        """It is drawn over its axis."""
        return (self.axis,)

    def point(self, at: float) -> CurvePoint | None:
        """The point there; None: none was measured."""
        return next((point for point in self.points if point.at == at), None)


RECORD = Curve


def contradictions(found: Curve) -> Iterator[str]:
    """One sentence for each thing that a curve says in two ways."""
    yield from recount_studies.contradictions(found)
    if not found.points:
        yield "it has no point"
    shares = {f"points.{at}.robust": point.robust for at, point in enumerate(found.points)}
    shares |= {f"points.{at}.unbroken": point.unbroken for at, point in enumerate(found.points)}
    yield from recount_studies.of_all(found, shares)
    left = found.examples
    for at, point in enumerate(found.points):
        if abs(float(Fraction(point.value)) - point.at) > ROUNDING:
            yield f"points.{at} is at {point.at:g}, and {point.value} in words"
        if point.unbroken.count > min(left, point.robust.count):
            yield f"points.{at} leaves more than itself and every point before it do"
        left = point.unbroken.count


def summary(found: Curve) -> str:
    """A curve in a line."""
    first, last = found.points[0], found.points[-1]
    where = f"{found.network.defense} over {found.axis} {first.value} to {last.value} on {found.data}"
    share = f"{100 * last.unbroken.value:.1f} %"
    return f"{where}, {found.norm}, seed {found.seed}: {share} at the end"


def whole(found: Curve, _: Path) -> Curve:
    """Nothing lies beside a curve."""
    return found
