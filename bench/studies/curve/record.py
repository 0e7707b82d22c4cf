"""A curve: what one defense keeps as the radius, the steps, the restarts or the queries of attacks grow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.records.heading import STRICT, Heading
from bench.records.record import Finding, Interval

SCHEMA = 2

Axis = Literal["eps", "steps", "restarts", "queries"]


@dataclass(frozen=True)
class CurvePoint:
    """One measured point; the first is at 0, where nothing is attacked."""

    __pydantic_config__ = STRICT

    value: str  # exact: "8/255", "20"
    at: float  # the same as a number
    robust: Interval  # by this point alone, over all n examples
    unbroken: Interval  # by this point and every one before it
    forwards: float | None  # mean per example, up to here where points go on from each other
    backwards: float | None  # None: one attack made all points, see the curve
    seconds: float | None


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


def summary(found: Curve) -> str:
    """A curve in a line."""
    first, last = found.points[0], found.points[-1]
    where = f"{found.network.defense} over {found.axis} {first.value} to {last.value} on {found.data}"
    share = f"{100 * last.unbroken.value:.1f} %"
    return f"{where}, {found.norm}, seed {found.seed}: {share} at the end"


def whole(found: Curve, _: Path) -> Curve:
    """Nothing lies beside a curve."""
    return found
