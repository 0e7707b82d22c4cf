"""NES and SPSA: estimates against exact gradients, queries against their limit, a closed form."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from bench.api import Deployed
from bench.attacks.geometry import distance
from bench.attacks.losses import margin
from bench.attacks.nes import NES, SPSA
from bench.core.threat import SCORES, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LINF, L2 = Budget(Norm.LINF, Fraction("0.1")), Budget(Norm.L2, Fraction("0.6"))
ATTACKS = {"nes": NES(queries=800, samples=40), "spsa": replace(SPSA, queries=800, samples=40)}
attacks = pytest.mark.parametrize("name", ATTACKS)
budgets = pytest.mark.parametrize("budget", [LINF, L2], ids=lambda budget: budget.norm.value)


@attacks
def test_the_estimate_is_the_gradient_in_the_mean(name: str, problem, seeded) -> None:
    """Of a linear loss; a mean of N directions is off by about sqrt(D / N) of its length."""
    oracle = problem.oracle(confirms=False, knowledge=SCORES)
    attack = NES(direction=ATTACKS[name].direction, sigma=0.1)  # coarse: the loss is linear, rounding is not
    estimate = attack._estimate(oracle, problem.x, problem.y, 800, seeded(0))
    weight = problem.network.weight.detach()
    exact = (weight[1 - problem.y] - weight[problem.y]).reshape(problem.x.shape)
    error = (estimate - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert error.mean().item() == pytest.approx((36 / 800) ** 0.5, rel=0.2)


def test_one_pair_by_hand(problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=SCORES)
    attack = NES(direction="rademacher", sigma=0.5)
    estimate = attack._estimate(oracle, problem.x, problem.y, 1, seeded(0))
    signs = (torch.randint(0, 2, problem.x.shape, generator=seeded(0)) * 2 - 1).float()
    high, low = (
        margin(problem.network(problem.x + side * 0.5 * signs).detach(), problem.y) for side in (1, -1)
    )
    torch.testing.assert_close(estimate, (high - low)[:, None, None, None] * signs)


@attacks
@budgets
def test_it_comes_close_to_the_worst_case_of_a_linear_classifier(name, budget, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=SCORES)
    x_adv = ATTACKS[name](oracle, problem.x, problem.y, budget, seeded(0))
    gap = problem.worst_margin(budget) - problem.margin(x_adv)
    gain = problem.worst_margin(budget) - problem.margin(problem.x)
    assert gap.min() > -1e-5
    assert (gap / gain).mean() < (0.05 if budget is LINF else 0.1)


@pytest.mark.parametrize("queries", [2, 7, 50, 61])
def test_no_more_queries_than_allowed_and_no_gradients(queries: int, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=SCORES)
    NES(queries=queries, samples=20)(oracle, problem.x, problem.y, LINF, seeded(0))
    assert set(oracle.forwards.tolist()) == {queries // 2 * 2} and oracle.backwards.sum() == 0


def test_it_stops_when_all_are_broken(problem, seeded) -> None:
    oracle = problem.oracle(knowledge=SCORES)
    NES()(oracle, problem.x, problem.y, Budget(Norm.LINF, Fraction(1)), seeded(0))
    assert oracle.hit.all() and oracle.forwards.max() < 2000


@attacks
@budgets
def test_what_broke_an_example_is_returned_inside_the_budget(name, budget, make_mlp, seeded) -> None:
    network, x = make_mlp(), torch.rand(40, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    deployed, batches = Deployed(network), Batches(64)
    referee = Referee(deployed, budget, batches)
    oracle = MeteredOracle(Access(deployed, SCORES, {}, PLAIN), referee, Ledger(x, y, 5), batches)
    x_adv = ATTACKS[name](oracle, x, y, budget, seeded(0))
    assert (distance(x_adv, x, budget.norm) <= budget.radius + 1e-6).all()
    assert oracle.broken().float().mean() > 0.1
    assert (referee.judge(x_adv, x).classes != y)[oracle.broken()].all()


def test_the_generator_alone_decides(problem, seeded) -> None:
    first, again = (
        NES(queries=40, samples=10)(problem.oracle(knowledge=SCORES), problem.x, problem.y, LINF, seeded(3))
        for _ in range(2)
    )
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [({"queries": 1}, "queries=2"), ({"sigma": 0.0}, "sigma=0.001"), ({"direction": "up"}, "gaussian")],
)
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        NES(**wrong)
