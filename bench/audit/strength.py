"""Is the attack that a number rests on strong enough: radii, the whole box, more of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.api import Attack, Trial
from bench.attacks.apgd import APGD
from bench.attacks.pgd import PGD
from bench.audit.case import broken, kept, named, percent
from bench.audit.examined import Examined, Undone
from bench.core.outcomes import Outcomes
from bench.core.seeds import seed_for
from bench.core.threat import WHITE_BOX, Budget, format_eps
from bench.evaluate.engine import Cell, play
from bench.records.record import Check
from bench.studies.curve.points import BROKEN, RESTART_SLACK, STEP_SLACK, Point, measure, over_radii, signs
from bench.studies.curve.points import whole_box as radius_of_box

RADII = tuple(Fraction(eighths, 4) for eighths in range(1, 9))
"""Of the curve over eps, in shares of eps."""

QUICK = (
    Trial("apgd_ce", APGD(steps=20), WHITE_BOX),
    Trial("adaptive", PGD(steps=20, step_size=Fraction(1, 10), loss="adaptive"), WHITE_BOX),
)
"""Enough to see whether a curve falls."""


SHELL, CLIFF, FEWEST = Fraction(1, 100), 1 / 3, 10
"""A cliff: a shell of radii, so narrow in shares of its outer one, takes that share of what is right clean.

Images lie at different distances from a decision boundary, and what is learned spreads them. An adversarially
trained network on MNIST, which is as steep as honest ones are known to be, loses an eighth of them between
two radii 1 % apart, just beyond the one that it was trained for. That a third of them lie at one distance is
the work of something that knows the radius: a table of images, a snap, a mask. Fewer than ten may be chance.
"""

Curve = dict[Fraction, NDArray[np.bool_]]
"""Radius -> what stands of each example [n]."""


def radii(subject: Examined) -> Check:
    """A5: accuracy over eight radii, and where it falls most over some between, on 100 examples."""
    chunk = subject.few(100)
    box = radius_of_box(subject.budget.norm, _shape(chunk.x))
    usual = subject.budget
    points = [Point(eps, Budget(usual.norm, eps), QUICK) for eps in _radii(usual) if 0 < eps < box]
    curve = {point.value: _standing(subject, point) for point in points}
    told = ", ".join(f"{format_eps(eps)}: {percent(held.mean())}" for eps, held in curve.items())
    figures = f"APGD-20 on {len(chunk.y)} examples leaves at eps {told}"
    found = signs("eps", points, [*curve.values()], box)
    if found:
        return named(found[0].code, f"{found[0].detail}; {figures}")
    cliff = _cliff(subject, curve)
    if cliff is None:
        return kept("A5", figures)
    inner, outer = (f"{percent(curve[eps].mean())} at eps {float(eps):.4g}" for eps in cliff)
    return named(
        "cliff-at-a-radius",
        f"{inner} and {outer}: what does that knows the radius, or hides within; {figures}",
    )


def _cliff(subject: Examined, curve: Curve) -> tuple[Fraction, Fraction] | None:
    """The radii on both sides of a cliff, if there is one; the curve gets what is measured in between.

    The steepest part is halved until it is as narrow as a shell, or falls by less than a cliff does.
    """
    least = max(FEWEST, CLIFF * subject.found.correct[: len(subject.few(100).y)].sum())
    while len(curve) > 1:
        inner, outer = max(pairwise(sorted(curve)), key=lambda pair: _fall(curve, *pair))
        if _fall(curve, inner, outer) < least:
            break
        if outer - inner <= SHELL * outer:
            return inner, outer
        middle = _possible(subject.budget, (inner + outer) / 2)
        if middle in curve:  # of whole pixels there is none between
            break
        curve[middle] = _standing(subject, Point(middle, Budget(subject.budget.norm, middle), QUICK))
    return None


def _fall(curve: Curve, inner: Fraction, outer: Fraction) -> int:
    return int(curve[inner].sum()) - int(curve[outer].sum())


def _standing(subject: Examined, point: Point) -> NDArray[np.bool_]:
    """What stands of 100 examples [n] at a point."""
    cell = measure(subject.arena(point.budget), point, subject.few(100), subject.identity)
    return _outcomes(cell).robust


def whole_box(subject: Examined) -> Check:
    """A6: with every image allowed, nothing stands; on 100 examples."""
    chunk = subject.few(100)
    box = radius_of_box(subject.budget.norm, _shape(chunk.x))
    (point,) = over_radii(subject.budget, _shape(chunk.x), at=[box])
    held = _outcomes(measure(subject.arena(point.budget), point, chunk, subject.identity)).robust
    figures = (
        f"with any image allowed (eps {format_eps(box)}) {int(held.sum())} of {len(held)} examples stand"
    )
    return kept("A6", figures) if held.mean() <= BROKEN else broken("A6", figures)


def more(subject: Examined) -> Check:
    """A7: twice the steps, and as many restarts again, on what the run left of 200 examples."""
    chunk, before = subject.left(200)
    arena, attack = subject.arena(), subject.attack
    longer = dataclasses.replace(attack, steps=2 * attack.steps)
    by_steps = _broken(play(arena, _trial(longer, "steps"), chunk, _seed(subject, "steps"), before), before)
    left, by_restarts = before, 0
    for time in range(max(1, subject.times)):
        trial = _trial(attack, f"restart_{time}")
        cell = play(arena, trial, chunk, _seed(subject, trial.column), left)
        by_restarts += _broken(cell, left)
        left = _outcomes(cell)
    n, steps = len(subject.few(200).y), attack.steps
    told = f"with PGD of {steps} steps {_times(subject.times)}" if subject.times else "which has no PGD"
    more = f"{_times(subject.times)} more" if subject.times else f"{steps} steps"
    figures = (
        f"the run, {told}, left {int(before.robust.sum())} of {n} examples; PGD of {2 * steps} steps breaks "
        f"{by_steps} of them, {more} {by_restarts}"
    )
    fine = by_steps <= max(1.0, STEP_SLACK * n) and by_restarts <= max(1.0, RESTART_SLACK * n)
    return kept("A7", figures) if fine else broken("A7", figures)


def _radii(usual: Budget) -> Iterator[Fraction]:
    for share in RADII:
        yield _possible(usual, usual.eps * share)


def _possible(usual: Budget, eps: Fraction) -> Fraction:
    """The radius, of L0 as a number of pixels."""
    return Fraction(round(eps)) if usual.norm.value == "L0" else eps


def _trial(attack: Attack, column: str) -> Trial:
    return Trial(column, attack, WHITE_BOX)


def _seed(subject: Examined, name: str) -> int:
    return seed_for(subject.identity, name)


def _broken(cell: Cell, before: Outcomes) -> int:
    return int((before.robust & ~_outcomes(cell).robust).sum())


def _outcomes(cell: Cell) -> Outcomes:
    if cell.outcomes is None:
        raise Undone(str(cell.error))
    return cell.outcomes


def _shape(x: Tensor) -> tuple[int, int, int]:
    channels, height, width = x.shape[1:]
    return channels, height, width


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
