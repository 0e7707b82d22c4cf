"""Is the attack that a number rests on strong enough: radii, the whole box, more of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

from torch import Tensor

from bench.api import Attack, Trial
from bench.attacks.apgd import APGD
from bench.attacks.pgd import PGD
from bench.audit.case import broken, kept, percent
from bench.audit.examined import Examined, Undone
from bench.core.outcomes import Outcomes
from bench.core.seeds import seed_for
from bench.core.threat import WHITE_BOX, Budget, format_eps
from bench.evaluate.engine import Cell, play
from bench.records.record import Check
from bench.records.rules import RULE_OF
from bench.studies.curve.points import BROKEN, RESTART_SLACK, STEP_SLACK, Point, measure, over_radii, signs
from bench.studies.curve.points import whole_box as radius_of_box

RADII = tuple(Fraction(eighths, 4) for eighths in range(1, 9))
"""Of the curve over eps, in shares of eps."""

QUICK = (
    Trial("apgd_ce", APGD(steps=20), WHITE_BOX),
    Trial("adaptive", PGD(steps=20, step_size=Fraction(1, 10), loss="adaptive"), WHITE_BOX),
)
"""Enough to see whether a curve falls."""


def radii(subject: Examined) -> Check:
    """A5: accuracy over eight radii, on 100 examples."""
    chunk = subject.few(100)
    box = radius_of_box(subject.budget.norm, _shape(chunk.x))
    usual = subject.budget
    points = [Point(eps, Budget(usual.norm, eps), QUICK) for eps in _radii(usual) if 0 < eps < box]
    robust = []
    for point in points:
        outcomes = _outcomes(measure(subject.arena(point.budget), point, chunk, subject.identity))
        robust.append(outcomes.robust)
    told = ", ".join(
        f"{format_eps(point.value)}: {percent(held.mean())}"
        for point, held in zip(points, robust, strict=True)
    )
    figures = f"APGD-20 on {len(chunk.y)} examples leaves at eps {told}"
    found = signs("eps", points, robust, box)
    return broken(RULE_OF[found[0].code], f"{figures}; {found[0].detail}") if found else kept("A5", figures)


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
        eps = usual.eps * share
        yield Fraction(round(eps)) if usual.norm.value == "L0" else eps


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
