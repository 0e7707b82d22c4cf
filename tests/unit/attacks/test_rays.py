"""RayS: its blocks and halvings by hand, its queries, the nearest mistakes of linear classifiers."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed
from bench.attacks.geometry import distance
from bench.attacks.rays import RayS, _Search
from bench.core.threat import DECISIONS, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LINF = Budget(Norm.LINF, Fraction("0.1"))
EVERYTHING = Budget(Norm.LINF, Fraction(1))


class _Threshold(nn.Module):
    """Class 1 where the sum of pixels, counted with these signs, exceeds a level."""

    def __init__(self, signs: list[float], level: float) -> None:
        super().__init__()
        self.signs, self.level = torch.tensor(signs), level

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = (x.flatten(1) * self.signs).sum(1)
        return torch.stack([self.level - total, total - self.level], 1)


def test_blocks_halve_level_by_level() -> None:
    """Which pixels of six are flipped, as long as nothing helps: 6, 3 3, 2 2 2, then one by one, again."""
    search = _Search(torch.full((1, 1, 2, 3), 0.5), tolerance=0.1)
    seen = []
    for _ in range(18):
        search.question()
        seen.append((search._trial[0] < 0).nonzero().flatten().tolist())
        search.learn(torch.tensor([False]))
    singles = [[pixel] for pixel in range(6)]
    assert seen == [[*range(6)], [0, 1, 2], [3, 4, 5], [0, 1], [2, 3], [4, 5], *singles, *singles]


def test_a_ray_is_halved_by_hand() -> None:
    """All pixels at 0.5 must fall by 0.3: the two ends close in on it until they are near."""
    search, asked = _Search(torch.full((1, 1, 1, 2), 0.5), tolerance=0.05), []
    for _ in range(6):
        images = search.question()
        asked.append(search._at.item())
        search.learn((0.5 - images).amax((1, 2, 3)) >= 0.3)
    assert asked == [1, 0.5, 0.25, 0.375, 0.3125, 0.28125]
    torch.testing.assert_close(search.nearest(), torch.full((1, 1, 1, 2), 0.5 - 0.3125))
    torch.testing.assert_close(
        search.question(), 0.5 + 0.3125 * torch.tensor([[[[1.0, -1.0]]]])
    )  # the next ray


def test_signs_are_found_one_by_one(make_oracle, seeded) -> None:
    """Eight pixels of which three count the other way: at distance d the sum gains 8 d."""
    signs = [1.0, 1, -1, 1, -1, 1, 1, -1]
    x = torch.full((1, 1, 2, 4), 0.5)
    network = _Threshold(signs, 1 + 8 * 0.2)  # the clean sum is 1
    oracle = make_oracle(network, torch.tensor([0]), 2, DECISIONS, confirms=False)
    x_adv = RayS(queries=200)(oracle, x, torch.tensor([0]), EVERYTHING, seeded(0))
    assert distance(x_adv, x, Norm.LINF).item() == pytest.approx(0.2, abs=2e-3)
    assert ((x_adv - x).sign().flatten() == torch.tensor(signs)).all()


def test_it_comes_near_the_nearest_mistake_of_a_linear_classifier(problem, seeded) -> None:
    """Never nearer than the closed form allows; near it for most: where the box binds, signs get stuck."""
    oracle = problem.oracle(confirms=False, knowledge=DECISIONS)
    x_adv = RayS(queries=1500)(oracle, problem.x, problem.y, EVERYTHING, seeded(0))
    found = distance(x_adv, problem.x, Norm.LINF)

    def worst(share: float) -> torch.Tensor:
        budgets = (Budget(Norm.LINF, Fraction(length.item() * share)) for length in found)
        return torch.stack([problem.worst_margin(budget)[row] for row, budget in enumerate(budgets)])

    assert (problem.margin(x_adv) > -1e-6).all()
    assert (worst(1.0) > -1e-6).all()
    assert (worst(0.98) < 0).float().mean() > 0.8
    assert (worst(0.8) < 0).all()


@pytest.mark.parametrize("queries", [1, 2, 77])
def test_no_more_queries_than_allowed(queries: int, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=DECISIONS)
    RayS(queries=queries)(oracle, problem.x, problem.y, LINF, seeded(0))
    assert set(oracle.forwards.tolist()) == {queries} and oracle.backwards.sum() == 0


@pytest.mark.parametrize(
    "budget", [LINF, Budget(Norm.L2, Fraction("0.6"))], ids=lambda budget: budget.norm.value
)
def test_labels_suffice_and_what_broke_an_example_is_returned(budget, problem, seeded) -> None:
    deployed, batches = Deployed(problem.network), Batches(64)
    referee, ledger = Referee(deployed, budget, batches), Ledger(problem.x, problem.y, 2)
    oracle = MeteredOracle(Access(deployed, DECISIONS, {}, PLAIN), referee, ledger, batches)
    x_adv = RayS(queries=400)(oracle, problem.x, problem.y, budget, seeded(0))
    broken = oracle.broken()
    assert (distance(x_adv, problem.x, budget.norm) <= budget.radius + 1e-6).all()
    assert (problem.margin(x_adv) > 0)[broken].all()
    reachable = problem.worst_margin(budget) > 0
    assert not (broken & ~reachable).any()
    if budget is LINF:
        assert broken.sum() > 0.9 * reachable.sum()


@pytest.mark.parametrize(
    ("wrong", "hint"), [({"queries": 0}, "queries=1"), ({"tolerance": 0.0}, "tolerance=0.001")]
)
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        RayS(**wrong)
