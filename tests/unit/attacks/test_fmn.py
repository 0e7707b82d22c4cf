"""FMN: the nearest mistakes of linear classifiers, FAB's distances on a network, its radii by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.api import Climb, Deployed
from bench.attacks.fab import FAB
from bench.attacks.fmn import FMN, _inside
from bench.attacks.geometry import distance
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

EVERYTHING = {norm: Budget(norm, Fraction(100)) for norm in Norm}
lengths = pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1], ids=lambda norm: norm.value)


@lengths
def test_the_nearest_mistake_of_a_linear_classifier(norm: Norm, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False)
    x_adv = FMN(steps=200)(oracle, problem.x, problem.y, EVERYTHING[norm], seeded(0))
    found = distance(x_adv, problem.x, norm)

    def worst(share: float) -> torch.Tensor:
        budgets = (Budget(norm, Fraction(length.item() * share)) for length in found)
        return torch.stack([problem.worst_margin(budget)[row] for row, budget in enumerate(budgets)])

    assert set(oracle.backwards.tolist()) == {200}
    assert (problem.margin(x_adv) > -1e-6).all() and (worst(1.0) > -1e-5).all()
    assert (worst(0.95) < 0).all()
    assert (worst(0.98) < 0).float().mean() > 0.8


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2], ids=lambda norm: norm.value)
def test_distances_are_those_of_fab(norm: Norm, make_mlp, make_oracle, seeded) -> None:
    """Two searches that have nothing in common but what they look for."""
    network, x = make_mlp(), torch.rand(30, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    lengths = []
    for attack in (FMN(steps=150), FAB(steps=60)):
        oracle = make_oracle(network, y, 5, confirms=False)
        x_adv = attack(oracle, x, y, EVERYTHING[norm], seeded(0))
        assert (network(x_adv).argmax(1) != y).all()
        lengths.append(distance(x_adv, x, norm))
    ratio = lengths[0] / lengths[1]
    assert ratio.median().item() == pytest.approx(1, abs=0.03)
    assert (ratio < 1.1).float().mean() > 0.9


@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, "0.1"), (Norm.L2, "0.5")])
def test_exactly_those_fall_whose_worst_margin_is_positive(norm: Norm, eps: str, problem, seeded) -> None:
    budget = Budget(norm, Fraction(eps))
    worst = problem.worst_margin(budget)
    clear = worst.abs() > 0.02 * budget.radius
    deployed, batches = Deployed(problem.network), Batches(64)
    ledger = Ledger(problem.x, problem.y, 2)
    oracle = MeteredOracle(
        Access(deployed, WHITE_BOX, {}, PLAIN), Referee(deployed, budget, batches), ledger, batches
    )
    x_adv = FMN(steps=200)(oracle, problem.x, problem.y, budget, seeded(0))
    assert (distance(x_adv, problem.x, norm) <= budget.radius + 1e-6).all()
    broken = problem.margin(x_adv) > 0
    assert torch.equal(broken[clear], worst[clear] > 0) and 0 < (worst > 0).sum() < len(worst)
    assert broken[oracle.broken()].all()


def test_radii_by_hand() -> None:
    """First: 0.5 and the margin 3 over the slope's L1 norm 6; after a mistake 1 % more; where wrong, less."""
    inf = torch.inf
    gradient = torch.tensor([1.0, -2, 3]).expand(3, 1, 1, 3)
    climb = Climb(gradient, torch.tensor([-3.0, -3, 3]), torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool))
    best, radius, length = (
        torch.tensor([inf, 0.4, 0.3]),
        torch.tensor([inf, 0.2, 0.25]),
        torch.full((3,), 0.5),
    )
    wrong = torch.tensor([False, False, True])
    found = FMN(shrink=0.01)._radius(radius, best, length, climb, wrong, Norm.LINF, 0)
    assert found.tolist() == pytest.approx([1.0, 0.2 * 1.01, 0.25 * 0.99])


def test_steps_fall_along_a_cosine() -> None:
    attack = FMN(steps=10)
    assert attack._falling(2.0, 0.01, 0) == pytest.approx(2)
    assert attack._falling(2.0, 0.01, 5) == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert attack._falling(2.0, 0.01, 10) == pytest.approx(0.02)


@lengths
def test_balls_of_their_own_radii(norm: Norm, seeded) -> None:
    x, radius = torch.full((4, 1, 3, 3), 0.5), torch.tensor([0.0, 0.1, 0.3, torch.inf])
    far = torch.rand(x.shape, generator=seeded(0))
    near = _inside(far, x, radius, norm)
    assert (distance(near, x, norm) <= radius + 1e-6).all() and torch.equal(near[3], far[3])
    assert distance(near, x, norm)[1].item() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "hint"), [({"step_size": 0.0}, "step_size=1"), ({"shrink": 3.0}, "shrink=0.5")]
)
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        FMN(**wrong)
