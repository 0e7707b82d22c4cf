"""Points beyond one budget: what growing radii, more steps and more restarts leave standing, and its signs.

A reviewer's questions to a single figure: does accuracy fall as the radius grows, to nothing in the whole
box, and would a longer or a repeated attack have broken more (Carlini et al., On Evaluating Adversarial
Robustness, 2019; Athalye, Carlini & Wagner, ICML 2018)?
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bench.api import Trial
from bench.attacks.apgd import APGD
from bench.attacks.pgd import PGD
from bench.core.outcomes import NEVER, Outcomes
from bench.core.paired import paired_difference
from bench.core.seeds import seed_for
from bench.core.threat import WHITE_BOX, Budget, Norm, format_eps
from bench.errors import BadValue
from bench.evaluate.adaptive import climbs_own_loss
from bench.evaluate.engine import Arena, Cell, Chunk, play
from bench.records.record import Finding

MULTIPLES = tuple(
    Fraction(quarters, 4) for quarters in (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
)
"""The radii of a curve, in customary radii; the whole box comes last."""

STEPS = (1, 2, 5, 10, 20, 50, 100, 200)

RESTARTS = tuple(range(1, 11))

BROKEN = 0.01
"""The accuracy at which a curve over radii has arrived."""

STRONG = (
    Trial("apgd_ce", APGD(steps=40), WHITE_BOX),
    Trial("margin", PGD(steps=40, step_size=Fraction(1, 10), loss="margin"), WHITE_BOX),
    Trial("adaptive", PGD(steps=40, step_size=Fraction(1, 10), loss="adaptive"), WHITE_BOX),
)
"""Strong enough to see a fall, cheap enough for twenty radii; the last where a defense states a loss."""

STEP_SLACK, RESTART_SLACK = 0.005, 0.003
"""The share of examples that twice the steps, or twice the restarts, may still break."""


@dataclass(frozen=True)
class Point:
    """One point of a curve and how it is measured."""

    value: Fraction  # on the axis: a radius, a number of steps or of restarts
    budget: Budget
    trials: tuple[Trial, ...]  # each attacks what those before it left
    goes_on: bool = False  # attacks what the point before left


def over_radii(
    usual: Budget,
    image_shape: tuple[int, int, int],
    trials: tuple[Trial, ...] = STRONG,
    at: Sequence[Fraction] | None = None,
) -> tuple[Point, ...]:
    """Every radius is attacked afresh, from the same random starts: nothing but the attack makes it fall.

    Raises:
        BadValue: the radius is 0, or the norm is none whose whole box is known here.
    """
    box = whole_box(usual.norm, image_shape)
    if at is None:
        if not usual.eps:
            raise BadValue("eps is 0, expected a radius whose multiples make a curve", "--eps 8/255")
        at = [*(usual.eps * m for m in MULTIPLES if usual.eps * m < box), box]
    return tuple(Point(eps, Budget(usual.norm, eps), trials) for eps in at if eps)


def over_steps(budget: Budget, trial: Trial, at: Sequence[int] = STEPS) -> tuple[Point, ...]:
    """The same attack with each number of steps, from the same random starts."""
    changed = [dataclasses.replace(trial.attack, steps=steps) for steps in at]  # type: ignore[type-var]
    return tuple(
        Point(Fraction(steps), budget, (dataclasses.replace(trial, attack=attack),))
        for steps, attack in zip(at, changed, strict=True)
    )


def over_restarts(budget: Budget, trial: Trial, times: int = RESTARTS[-1]) -> tuple[Point, ...]:
    """The same attack again and again with other random draws, on what still stands."""
    return tuple(
        Point(
            Fraction(time),
            budget,
            (dataclasses.replace(trial, column=f"{trial.column}_{time}"),),
            goes_on=time > 1,
        )
        for time in range(1, times + 1)
    )


def whole_box(norm: Norm, image_shape: tuple[int, int, int]) -> Fraction:
    """The least radius known to hold every image, whatever the clean one is; under L2 rounded up to 1."""
    if norm is Norm.LINF:
        return Fraction(1)
    values = math.prod(image_shape)
    return Fraction(math.isqrt(values - 1) + 1 if norm is Norm.L2 else values)


def measure(arena: Arena, point: Point, chunk: Chunk, identity: str, before: Outcomes | None = None) -> Cell:
    """What the trials of a point, one after another, do to a chunk; the arena has the point's budget.

    Passes are the sums over the trials, those of `before` (the point that this one goes on from) among them.
    Random streams are named by identity, column and chunk. A trial that climbs the defense's own loss is left
    out where there is none. What fails is a cell with its error.
    """
    outcomes, seconds, flat, shared = before, 0.0, 0, 0
    for trial in point.trials:
        if climbs_own_loss(trial.attack) and arena.deployed.adaptive_loss is None:
            continue
        cell = play(arena, trial, chunk, seed_for(identity, trial.column, chunk.number), outcomes)
        seconds += cell.seconds
        if cell.outcomes is None:
            return Cell(None, seconds, error=f"{trial.column}: {cell.error}")
        outcomes = cell.outcomes if outcomes is None else _joined(outcomes, cell.outcomes)
        flat, shared = max(flat, cell.flat_gradients), max(shared, cell.shared)
    if outcomes is None:
        return Cell(None, seconds, error="the defense states no loss of its own, and no other was asked")
    return Cell(outcomes, seconds, flat, shared)


def signs(
    axis: str, points: Sequence[Point], robust: Sequence[NDArray[np.bool_]], box: Fraction
) -> list[Finding]:
    """What a measured curve says against its own attack; robust are arrays [n], one for each point.

    Codes are those of the audit's rules A5 (radii), A6 (the whole box) and A7 (steps and restarts).
    """
    if axis == "eps":
        return [*_rises(points, robust), *_survives(points, robust, box)]
    if axis in ("steps", "restarts"):
        return _doubling(axis, points, robust, STEP_SLACK if axis == "steps" else RESTART_SLACK)
    return []


def _rises(points: Sequence[Point], robust: Sequence[NDArray[np.bool_]]) -> list[Finding]:
    for place in range(1, len(points)):
        least = min(range(place), key=lambda earlier: int(robust[earlier].sum()))
        gained = paired_difference(robust[place], robust[least])
        if gained.low > 0:
            small, large = format_eps(points[least].value), format_eps(points[place].value)
            detail = (
                f"eps {small} leaves {_percent(robust[least])}, eps {large} {_percent(robust[place])}: "
                f"{gained.won} of {gained.n} examples stand at the larger radius only"
            )
            return [Finding("success-falls-with-eps", "warn", detail)]
    return []


def _survives(points: Sequence[Point], robust: Sequence[NDArray[np.bool_]], box: Fraction) -> list[Finding]:
    if points[-1].value < box or robust[-1].mean() <= BROKEN:
        return []
    detail = f"with any image allowed (eps {format_eps(points[-1].value)}) {_percent(robust[-1])} still stand"
    return [Finding("unconstrained-attack-fails", "warn", detail)]


def _doubling(
    axis: str, points: Sequence[Point], robust: Sequence[NDArray[np.bool_]], slack: float
) -> list[Finding]:
    """The longest attack against one of half its length."""
    place = {point.value: number for number, point in enumerate(points)}
    halves = [value for value in place if 2 * value in place]
    if not halves:
        return []
    half = max(halves)
    before, after = robust[place[half]], robust[place[2 * half]]
    lost = int(before.sum()) - int(after.sum())
    if lost <= max(1.0, slack * len(before)):  # one example is no sign
        return []
    detail = f"{half} {axis} leave {_percent(before)}, {2 * half} {axis} {_percent(after)}"
    return [Finding(f"more-{axis}-help", "warn", detail)]


def _joined(first: Outcomes, then: Outcomes) -> Outcomes:
    """Two attacks in a row as one: the second went on where the first stopped."""
    late = np.where(then.first_success == NEVER, NEVER, first.forwards + then.first_success)
    return dataclasses.replace(
        then,
        forwards=first.forwards + then.forwards,
        backwards=first.backwards + then.backwards,
        first_success=np.where(first.first_success == NEVER, late, first.first_success),
        moved=first.moved | then.moved,
        lost=first.lost | then.lost,
        invalid=first.invalid | then.invalid,
    )


def _percent(held: NDArray[np.bool_]) -> str:
    return f"{100 * held.mean():.1f} %"
