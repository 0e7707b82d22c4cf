"""A curve: what one defense keeps as the radius, the steps, the restarts or the queries of attacks grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict

from bench.records.record import Finding, Interval, Provenance
from bench.records.transfer import Network

SCHEMA = 1

FOLDER, CURVE = "curves", "curve.json"

Axis = Literal["eps", "steps", "restarts", "queries"]

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class CurvePoint:
    """One measured point; the first is at 0, where nothing is attacked."""

    __pydantic_config__ = _STRICT

    value: str  # exact: "8/255", "20"
    at: float  # the same as a number
    robust: Interval  # by this point alone, over all n examples
    unbroken: Interval  # by this point and every one before it
    forwards: float | None  # mean per example, up to here where points go on from each other
    backwards: float | None  # None: one attack made all points, see the curve
    seconds: float | None


@dataclass(frozen=True)
class Curve:
    """One defense along one axis."""

    __pydantic_config__ = _STRICT

    schema: int
    id: str
    axis: Axis
    network: Network
    data: str
    data_digest: str
    norm: str
    eps: str  # of the run: of every point but where the axis is eps
    seed: int
    examples: int
    attacks: tuple[str, ...]  # each with every parameter, on what those before it left
    knowledge: str
    points: tuple[CurvePoint, ...]
    findings: tuple[Finding, ...]
    whole_box: float | None  # the radius at which every image is allowed; None: another axis
    seconds: float  # of all attacks
    spec: Mapping[str, Any]
    provenance: Provenance

    @property
    def budget(self) -> str:
        """Norm and radius as papers print them."""
        return f"{self.norm} {self.eps}"

    def point(self, at: float) -> CurvePoint | None:
        """The point there; None: none was measured."""
        return next((point for point in self.points if point.at == at), None)
