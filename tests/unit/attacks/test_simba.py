"""SimBA: its waves against scipy's, its orders, its pace, and the worst case of linear classifiers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.fft import idct

from bench.api import Deployed
from bench.attacks.geometry import distance
from bench.attacks.simba import SIMBA_DCT, SimBA, _waves
from bench.core.threat import SCORES, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LINF, L2 = Budget(Norm.LINF, Fraction("0.1")), Budget(Norm.L2, Fraction("0.6"))
budgets = pytest.mark.parametrize("budget", [LINF, L2], ids=["Linf", "L2"])
attacks = pytest.mark.parametrize("attack", [SimBA(), SIMBA_DCT], ids=["pixel", "dct"])


@pytest.mark.parametrize("eps", ["0.03", "0.3"])
def test_each_pixel_is_asked_about_at_most_twice_until_linf_is_reached(eps: str, problem, seeded) -> None:
    """73 queries, with the clean image, reach the closed form for 36 pixels: none asks about no step."""
    budget = Budget(Norm.LINF, Fraction(eps))
    oracle = problem.oracle(confirms=False, knowledge=SCORES)
    x_adv = SimBA(queries=73)(oracle, problem.x, problem.y, budget, seeded(0))
    assert (problem.worst_margin(budget) - problem.margin(x_adv)).abs().max() < 1e-4


@pytest.mark.parametrize("directions", ["pixel", "dct"])
def test_it_comes_close_under_l2(directions, problem, seeded) -> None:
    attack = SimBA(queries=800, directions=directions, frequencies=1.0)
    x_adv = attack(problem.oracle(confirms=False, knowledge=SCORES), problem.x, problem.y, L2, seeded(0))
    gap = problem.worst_margin(L2) - problem.margin(x_adv)
    gain = problem.worst_margin(L2) - problem.margin(problem.x)
    assert gap.min() > -1e-5
    assert (gap / gain).mean() < 0.1


@pytest.mark.parametrize(("side", "count"), [(8, 8), (7, 3), (1, 1)])
def test_waves_are_those_of_the_cosine_transform(side: int, count: int) -> None:
    expected = idct(np.eye(side), norm="ortho", axis=1)[:count]
    np.testing.assert_allclose(_waves(side, count, Norm.L2).numpy(), expected, atol=1e-6)
    assert _waves(side, count, Norm.LINF).abs().amax(1).tolist() == pytest.approx([1.0] * count)


def test_directions_are_orthonormal_and_each_comes_once() -> None:
    x = torch.zeros(1, 2, 4, 6)
    for attack, count in ((SimBA(), 48), (SimBA(directions="dct", frequencies=0.5), 2 * 2 * 3)):
        basis = attack._basis(x, Norm.L2)
        assert basis.count == count
        images = basis.direction(torch.arange(count)).flatten(1)
        torch.testing.assert_close(images @ images.T, torch.eye(count))


def test_first_steps_by_hand(make_oracle, seeded) -> None:
    """Three pixels, all of which must rise: after the clean image each is tried back, then forth."""
    x, y = torch.full((1, 1, 1, 3), 0.5), torch.tensor([0])
    seen: list[torch.Tensor] = []

    class Sum(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images - x)
            return torch.stack([torch.full((len(images),), 9.0), images.flatten(1).sum(1)], 1)

    SimBA(queries=8)(make_oracle(Sum(), y, 2, SCORES, confirms=False), x, y, LINF, seeded(0))
    moves = torch.cat(seen).flatten(1) / 0.1
    sums = moves.sum(1).round().tolist()
    assert sums == [0, -1, 1, 0, 2, 1, 3, 2]  # the last begins again, one step back
    assert moves[6].round().tolist() == [1, 1, 1]


def test_every_image_has_its_own_order(seeded, make_oracle) -> None:
    x, y = torch.full((30, 1, 4, 4), 0.5), torch.zeros(30, dtype=torch.int64)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    torch.nn.init.ones_(network[1].weight.data[1:])
    torch.nn.init.zeros_(network[1].weight.data[:1])
    x_adv = SimBA(queries=5)(make_oracle(network, y, 2, SCORES, confirms=False), x, y, LINF, seeded(0))
    assert ((x_adv != x).flatten(1).sum(1) == 2).all()
    assert len({tuple(row) for row in (x_adv != x).flatten(1).tolist()}) > 20


@attacks
@budgets
def test_what_broke_an_example_is_returned_inside_the_budget(attack, budget, make_mlp, seeded) -> None:
    network, x = make_mlp(), torch.rand(60, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    deployed, batches = Deployed(network), Batches(64)
    referee = Referee(deployed, budget, batches)
    oracle = MeteredOracle(Access(deployed, SCORES, {}, PLAIN), referee, Ledger(x, y, 5), batches)
    x_adv = replace(attack, queries=300)(oracle, x, y, budget, seeded(0))
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert (distance(x_adv, x, budget.norm) <= budget.radius + 1e-6).all()
    assert oracle.broken().float().mean() > 0.1
    assert (referee.judge(x_adv, x).classes != y)[oracle.broken()].all()


@attacks
@pytest.mark.parametrize("queries", [1, 2, 90])
def test_no_more_queries_than_allowed_and_no_gradients(attack, queries: int, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=SCORES)
    first = replace(attack, queries=queries)(oracle, problem.x, problem.y, LINF, seeded(2))
    assert set(oracle.forwards.tolist()) == {queries} and oracle.backwards.sum() == 0
    assert torch.equal(replace(attack, queries=queries)(oracle, problem.x, problem.y, LINF, seeded(2)), first)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [({"queries": 0}, "queries=1"), ({"directions": "wave"}, "pixel"), ({"step_size": 0.5}, "step_size=1/4")],
)
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        SimBA(**wrong)
