"""Attacks on a linear classifier reach the worst case that can be computed exactly, box included."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.api import Attack
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.fgsm import FGSM
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import Budget, Norm

LINF = [Budget(Norm.LINF, Fraction("0.03")), Budget(Norm.LINF, Fraction("0.3"))]
L2 = [Budget(Norm.L2, Fraction("0.3")), Budget(Norm.L2, Fraction("1.5"))]


def _gap(attack: Attack, budget: Budget, problem, seeded) -> torch.Tensor:
    """How much margin the attack left on the table, [n]."""
    x_adv = attack(problem.oracle(confirms=False), problem.x, problem.y, budget, seeded(0))
    return problem.worst_margin(budget) - problem.margin(x_adv)


@pytest.mark.parametrize("budget", LINF)
@pytest.mark.parametrize(
    "attack",
    [
        FGSM(),
        PGD(),
        PGD(steps=10, loss="margin", schedule="cosine", step_size=Fraction(1)),
        PGD(loss="dlr", random_start=False),
        PGD(loss="probability_margin"),
        PGD(target="most_confusing", loss="margin"),
        MIFGSM(),
        APGD(steps=20),
        APGD(steps=20, loss="margin"),
        TargetedAPGD(steps=20),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_linf_is_reached(attack: Attack, budget: Budget, problem, seeded) -> None:
    gap = _gap(attack, budget, problem, seeded)
    assert gap.abs().max() < 1e-4


@pytest.mark.parametrize("budget", L2)
@pytest.mark.parametrize(
    "attack",
    [
        PGD(steps=200, schedule="cosine", loss="margin"),
        PGD(steps=200, schedule="cosine"),
        PGD(steps=200, schedule="cosine", target="least_likely"),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_l2_is_reached_where_steps_shrink(attack: Attack, budget: Budget, problem, seeded) -> None:
    gap = _gap(attack, budget, problem, seeded)
    assert gap.min() > -1e-5
    assert gap.max() < 1e-4


@pytest.mark.parametrize("budget", L2)
@pytest.mark.parametrize(
    "attack",
    [APGD(), APGD(loss="margin"), APGD(steps=200), TargetedAPGD(loss="targeted_margin")],
    ids=lambda attack: type(attack).__name__,
)
def test_apgd_comes_within_half_a_percent_under_l2(attack: Attack, budget: Budget, problem, seeded) -> None:
    """Where the box binds, ball-then-box stops short by a share of the step; APGD halves its own rarely."""
    gap = _gap(attack, budget, problem, seeded)
    gain = problem.worst_margin(budget) - problem.margin(problem.x)
    assert gap.min() > -1e-5
    assert (gap / gain).max() < 0.02
    assert (gap / gain).mean() < 0.005


def test_square_comes_close_to_the_optimum(problem, seeded) -> None:
    for budget, share in ((LINF[1], 0.01), (L2[1], 0.25)):
        clean = problem.margin(problem.x)
        gap = _gap(Square(queries=1000), budget, problem, seeded)
        gain = problem.worst_margin(budget) - clean
        assert gap.min() > -1e-5
        assert (gap / gain).mean() < share


@pytest.mark.parametrize("budget", [*LINF, *L2], ids=lambda budget: budget.label)
def test_the_share_of_broken_examples_is_the_closed_form(budget: Budget, problem, seeded) -> None:
    """With an oracle that confirms and freezes, exactly those fall whose worst margin is positive."""
    worst = problem.worst_margin(budget)
    clear = worst.abs() > 1e-3
    oracle = problem.oracle()
    attack = APGD(steps=100, loss="margin")
    x_adv = attack(oracle, problem.x, problem.y, budget, seeded(0))
    broken = oracle.hit | (problem.margin(x_adv) > 0)
    assert torch.equal(broken[clear], worst[clear] > 0)
