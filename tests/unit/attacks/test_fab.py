"""FAB: its projection against solvers of linear and quadratic programs, its reach on linear classifiers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from bench.api import Deployed
from bench.attacks.combine import Restarts
from bench.attacks.fab import FAB, to_hyperplane
from bench.attacks.geometry import distance
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

BUDGETS = [
    Budget(Norm.LINF, Fraction("0.03")),
    Budget(Norm.LINF, Fraction("0.1")),
    Budget(Norm.L2, Fraction("0.3")),
]
budgets = pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.label)


def _planes(
    seeded, scale: float, n: int = 25, pixels: int = 7
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = seeded(0)
    points = torch.rand(n, pixels, generator=generator)
    points = torch.where(torch.rand(points.shape, generator=generator) < 0.3, points.round(), points)
    normals = torch.randn(n, pixels, generator=generator)
    normals[: n // 2, 2] = 0  # a pixel that the network does not see
    return points, normals, torch.randn(n, generator=generator) * scale


@pytest.mark.parametrize("scale", [0.3, 1.5, 6.0])
def test_linf_projection_solves_the_linear_program(scale: float, seeded) -> None:
    points, normals, gaps = _planes(seeded, scale)
    moves = to_hyperplane(points, normals, gaps, Norm.LINF)
    solved = 0
    for t, w, gap, d in zip(points.double(), normals.double(), gaps.double(), moves.double(), strict=True):
        size = len(t)  # variables: the moves, and their largest size
        beyond = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
        found = linprog(
            [0] * size + [1],
            A_ub=beyond,
            b_ub=np.zeros(2 * size),
            A_eq=[[*w.tolist(), 0.0]],
            b_eq=[gap.item()],
            bounds=[*((-z, 1 - z) for z in t.tolist()), (0, None)],
        )
        if found.success:
            solved += 1
            assert d.abs().max().item() == pytest.approx(found.fun, abs=1e-6)
            assert (w @ d).item() == pytest.approx(gap.item(), abs=1e-5)
        else:
            corner = torch.where(w * gap > 0, 1 - t, -t) * (w != 0)
            torch.testing.assert_close(d, corner)
        assert (t + d).min() > -1e-6 and (t + d).max() < 1 + 1e-6
    assert solved > 3


@pytest.mark.parametrize("scale", [0.3, 1.5])
def test_l2_projection_solves_the_quadratic_program(scale: float, seeded) -> None:
    points, normals, gaps = _planes(seeded, scale, n=12)
    moves = to_hyperplane(points, normals, gaps, Norm.L2)
    solved = 0
    for t, w, gap, d in zip(points.double(), normals.double(), gaps.double(), moves.double(), strict=True):
        reach = (torch.where(w * gap > 0, 1 - t, -t) * w).sum().abs()
        if reach < gap.abs() + 1e-3:
            continue
        solved += 1
        found = minimize(
            lambda z: z @ z,
            np.zeros(len(t)),
            jac=lambda z: 2 * z,
            constraints={"type": "eq", "fun": lambda z, w=w, gap=gap: w.numpy() @ z - gap.item()},
            bounds=[(-z, 1 - z) for z in t.tolist()],
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        assert w.numpy() @ found.x == pytest.approx(gap.item(), abs=1e-6)
        np.testing.assert_allclose(d.numpy(), found.x, atol=1e-4)
    assert solved > 6


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_projections_that_cannot_or_need_not_move(norm: Norm) -> None:
    points, normals = torch.full((3, 4), 0.25), torch.ones(3, 4)
    normals[1] = 0
    moves = to_hyperplane(points, normals, torch.tensor([0.0, 1.0, 9.0]), norm)
    assert not moves[0].any() and not moves[1].any()
    assert torch.equal(moves[2], torch.full((4,), 0.75))


@budgets
def test_exactly_those_fall_whose_worst_margin_is_positive(budget: Budget, problem, seeded) -> None:
    worst = problem.worst_margin(budget)
    clear = worst.abs() > 2e-2 * budget.radius
    deployed, batches = Deployed(problem.network), Batches(64)
    ledger = Ledger(problem.x, problem.y, 2)
    referee = Referee(deployed, budget, batches)
    oracle = MeteredOracle(Access(deployed, WHITE_BOX, {}, PLAIN), referee, ledger, batches)
    x_adv = FAB(steps=30)(oracle, problem.x, problem.y, budget, seeded(0))
    assert (distance(x_adv, problem.x, budget.norm) <= budget.radius + 1e-6).all()
    broken = problem.margin(x_adv) > 0
    assert 0 < (worst > 0).sum() < len(worst)
    assert torch.equal(broken[clear], worst[clear] > 0)
    assert broken[oracle.broken()].all()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("random_start", [False, True])
def test_the_nearest_mistake_of_a_linear_classifier(norm: Norm, random_start: bool, problem, seeded) -> None:
    """The closed form has no mistake much nearer than the one found, and has one as far away."""
    attack, x, y = FAB(steps=40, random_start=random_start), problem.x[:20], problem.y[:20]
    budget = Budget(norm, Fraction(1, 10))
    oracle = problem.oracle(confirms=False).only(torch.arange(20))
    start = attack._start(x, budget, seeded(0))
    found = distance(attack.nearest(oracle, x, y, 1 - y, start, norm), x, norm)
    for row in range(20):
        near, far = (Budget(norm, Fraction(found[row].item() * share)) for share in (0.97, 1.001))
        assert problem.worst_margin(near)[row] <= 0 < problem.worst_margin(far)[row]


def test_costs_and_targets(make_mlp, make_oracle, seeded) -> None:
    network, x = make_mlp(), torch.rand(10, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    oracle = make_oracle(network, y, 5, confirms=False)
    FAB(steps=4, targets=9)(oracle, x, y, Budget(Norm.LINF, Fraction(1, 1000)), seeded(0))
    assert set(oracle.backwards.tolist()) == {4 * 4}  # four wrong classes
    assert set(oracle.forwards.tolist()) == {1 + 4 * 8 + 3}  # the clean image, steps, between the targets


def test_restarts_differ_only_with_a_random_start(problem, seeded) -> None:
    budget, generator = BUDGETS[1], seeded(0)
    for random_start in (False, True):
        attack = FAB(steps=1, random_start=random_start)
        first, again = (
            attack(problem.oracle(confirms=False), problem.x, problem.y, budget, generator) for _ in range(2)
        )
        assert torch.equal(first, again) is not random_start
    x_adv = Restarts(attack, times=2)(problem.oracle(confirms=False), problem.x, problem.y, budget, generator)
    assert (distance(x_adv, problem.x, budget.norm) <= budget.radius + 1e-6).all()


@pytest.mark.parametrize(("wrong", "hint"), [({"steps": 0}, "steps=1"), ({"bias": 2.0}, "bias=0.5")])
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        FAB(**wrong)
