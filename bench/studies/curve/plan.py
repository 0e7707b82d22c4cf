"""What `bench curve` will do: a network, attacks, an axis and its values, and the one id of all that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from bench.api import Suite, Trial
from bench.attacks.apgd import APGD
from bench.attacks.others.signature import column_of
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.encoding import encode
from bench.core.threat import SCORES, WHITE_BOX, Norm, parse_eps
from bench.data.catalog import source
from bench.errors import BadValue
from bench.plan import Request, RunSpec, attack_named, plan_each
from bench.studies.curve.points import STEPS, STRONG, Point, over_radii, over_restarts, over_steps
from bench.studies.curve.record import Axis
from bench.studies.spec import StudySpec

USUAL: Mapping[str, tuple[Trial, ...]] = {
    "eps": STRONG,
    "steps": (Trial("apgd", APGD(), WHITE_BOX),),
    "restarts": (Trial("pgd", PGD(steps=50, step_size=Fraction(1, 10)), WHITE_BOX),),
    "queries": (Trial("square", Square(), SCORES),),
}
"""Axis -> the attacks of whoever names none, each on what those before it left."""


@dataclass(frozen=True)
class CurveSpec(StudySpec):
    """All that decides one curve."""

    name: ClassVar[str] = "curve"

    run: RunSpec  # its suite holds the attacks as they were chosen
    axis: Axis
    at: tuple[Fraction, ...] | None  # None: the usual values; radii then end where nothing is left

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "run": self.run.encoded(),
            "axis": self.axis,
            "at": None if self.at is None else encode(self.at),
        }

    @property
    def title(self) -> str:
        """What is measured, as progress says it."""
        return f"{self.run.training.named.label} over {self.axis}"

    def points(self, image_shape: tuple[int, int, int]) -> tuple[Point, ...]:
        """What is measured; of queries the one attack behind all points."""
        trials, budget = self.run.suite.trials, self.run.budget
        whole = [int(value) for value in self.at or ()]
        if self.axis == "eps":
            return over_radii(budget, image_shape, trials, self.at)
        if self.axis == "steps":
            return over_steps(budget, trials[0], whole or STEPS)
        if self.axis == "restarts":
            return over_restarts(budget, trials[0], *whole)
        return (Point(Fraction(0), budget, trials),)


def plan(
    names: Sequence[str],
    request: Request,
    axis: Axis,
    at: str | None = None,
    attack: str | None = None,
) -> list[CurveSpec]:
    """A curve for each network; names are NAME or NAME@ARCH, the rest is common to all.

    Raises:
        UnknownName, BadValue: a name leads nowhere, or a value cannot be.
    """
    values = None if at is None else _values(at, axis)
    budget = request.budget or source(request.data).budget
    trials = USUAL[axis] if attack is None else (_trial(attack, axis),)
    if budget.norm not in (Norm.LINF, Norm.L2) and attack is None:
        raise BadValue(
            f"the usual attack of --over {axis} knows Linf and L2, but --norm is {budget.norm.value}, "
            "expected an attack for it",
            "--attack NAME",
        )
    if not budget.eps and (axis != "eps" or values is None):
        raise BadValue("--eps is 0, which leaves nothing to do, expected a radius above 0", "--eps 8/255")
    _check_values(axis, values, budget.norm)
    runs = plan_each(names, request, Suite("curve", 1, trials))
    return [CurveSpec(run, axis, values) for run in runs]


def _trial(attack: str, axis: Axis) -> Trial:
    """An attack that the user named; what it must have depends on the axis."""
    chosen: Any = attack_named(attack)
    if axis == "steps" and "steps" not in {item.name for item in dataclasses.fields(chosen)}:
        raise BadValue(f"the attack {attack!r} has no steps, expected one that has", "--attack pgd")
    return Trial(column_of(attack), chosen, SCORES if axis == "queries" else WHITE_BOX)


def _check_values(axis: Axis, at: tuple[Fraction, ...] | None, norm: Norm) -> None:
    if at is None:
        return
    if axis == "queries":
        raise BadValue("--at means nothing over queries, all of which are measured at once, expected no --at")
    if axis == "restarts" and len(at) > 1:
        raise BadValue("--at names several numbers of restarts, expected the largest alone", "--at 10")
    for value in at:
        if value <= 0 or (axis != "eps" and value.denominator != 1):
            wanted = "radii above 0" if axis == "eps" else "whole numbers of at least 1"
            raise BadValue(
                f"--at holds {value}, expected {wanted}", "--at 4/255,8/255" if axis == "eps" else "--at 20"
            )
        if axis == "eps" and norm is Norm.LINF and value > 1:
            raise BadValue(
                f"--at holds {value}, expected at most 1 under Linf, because pixels go from 0 to 1"
            )
    if list(at) != sorted(set(at)):
        raise BadValue(
            "--at holds values that do not rise, expected each above the one before it", "--at 10,20"
        )


def _values(text: str, axis: Axis) -> tuple[Fraction, ...]:
    try:
        return tuple(parse_eps(part) for part in text.split(","))
    except BadValue:
        hint = "--at 4/255,8/255" if axis == "eps" else "--at 20"
        raise BadValue(f"--at is {text!r}, expected numbers above 0 with commas between them", hint) from None
