"""The cascade's steps reach the closed form, cost what they say, and find what gradients miss."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.fast import Ladder, Probe, Siege, climbed
from bench.attacks.losses import margin
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics

LINF = Budget(Norm.LINF, Fraction("0.03"))
SMALL = Siege(rounds=2, targets=1, steps=5, queries=200)


@pytest.mark.parametrize("attack", [Ladder(), Probe(), SMALL], ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("eps", ["0.02", "0.1", "0.4"])
def test_a_linear_network_breaks_exactly_where_its_closed_form_says(problem, seeded, attack, eps):
    budget = Budget(Norm.LINF, Fraction(eps))
    oracle = problem.oracle()
    x_adv = attack(oracle, problem.x, problem.y, budget, seeded(0))
    worst = problem.worst_margin(budget)
    sure = worst.abs() > 1e-4
    fallen = oracle.broken() | (problem.margin(x_adv) > 0)
    assert (fallen == (worst > 0))[sure].all()


def test_the_ladder_costs_what_it_says(problem, seeded):
    faint = Budget(Norm.LINF, Fraction("1/100000"))
    oracle = problem.oracle()
    Ladder(steps=7, targets=3)(oracle, problem.x, problem.y, faint, seeded(0))
    # two classes have one wrong one: a climb without a target, one query between, and one with it
    assert oracle.backwards.tolist() == [14] * len(problem.y)
    assert oracle.forwards.tolist() == [15] * len(problem.y)


def test_steps_shrink_like_a_cosine(problem):
    budget = Budget(Norm.LINF, Fraction("0.1"))
    x = torch.full((1, 1, 6, 6), 0.5)
    y = problem.network(x).argmax(1)
    oracle = type(problem)(problem.network, x, y).oracle(confirms=False)
    one = climbed(oracle, margin, (y,), x, x, budget, steps=1)
    assert torch.allclose((one - x).abs(), torch.full_like(x, 0.1)), "2 eps, cut to the ball"


class Rounded(nn.Module):
    """A linear network whose gradient is right, but whose answer jumps: margins are rounded to steps."""

    def __init__(self, inner, blind):
        super().__init__()
        self.inner, self.blind = inner, blind

    def forward(self, x):
        logits = self.inner(x)
        if self.blind:  # the gradient points nowhere near the boundary
            logits = logits.detach() + 1e-3 * x.flatten(1)[:, :1] * torch.tensor([1.0, -1.0])
        return logits


def test_random_search_finds_what_a_misleading_gradient_hides(problem):
    budget = Budget(Norm.LINF, Fraction("0.15"))
    network = Rounded(problem.network, blind=True).requires_grad_(False)
    y = network(problem.x).argmax(1)
    chunk = Chunk(0, problem.x, y, torch.arange(len(y)))
    arena = Arena(Deployed(network), budget, 2, {}, Numerics(), Batches(64), seed=0)

    def left(attack):
        return int(play(arena, Trial("attack", attack, WHITE_BOX), chunk, 0).outcomes.robust.sum())

    worst = int((problem.worst_margin(budget) < 0).sum())
    ladder, probe, siege = (
        left(Ladder()),
        left(Probe()),
        left(Siege(rounds=2, steps=5, queries=600, block=0.5)),
    )
    assert ladder > probe >= siege
    assert siege <= worst + 2 < ladder, "the siege is near the optimum, the ladder is not"


def test_the_siege_works_on_the_closest_and_stops_at_the_first_block_that_holds(problem):
    """Margins tell who is close: the far ones are spared all but the sighting."""
    budget = Budget(Norm.LINF, Fraction("0.05"))
    network = problem.network.requires_grad_(False)
    chunk = Chunk(0, problem.x, problem.y, torch.arange(len(problem.y)))
    arena = Arena(Deployed(network), budget, 2, {}, Numerics(), Batches(64), seed=0)
    siege = Siege(rounds=1, targets=1, steps=2, queries=50, block=0.0)
    outcomes = play(arena, Trial("siege", siege, WHITE_BOX), chunk, 0).outcomes
    held = outcomes.forwards[outcomes.robust]
    much, little = held > 60, held < 60
    assert much.sum() == 16 and little.sum() > 0, "one block of sixteen, of which none fell"
    margins = problem.worst_margin(budget).numpy()[outcomes.robust]
    assert margins[much].min() > margins[little].max() - 1e-3


def test_the_siege_returns_what_it_found_in_any_round(problem):
    """Its later rounds begin elsewhere, and an example that fell in an earlier one keeps its image."""
    network = Rounded(problem.network, blind=True).requires_grad_(False)
    y = network(problem.x).argmax(1)
    chunk = Chunk(0, problem.x, y, torch.arange(len(y)))
    arena = Arena(
        Deployed(network), Budget(Norm.LINF, Fraction("0.15")), 2, {}, Numerics(), Batches(64), seed=0
    )
    siege = Siege(rounds=3, steps=5, queries=40, block=1.0)
    outcomes = play(arena, Trial("siege", siege, WHITE_BOX), chunk, 0).outcomes
    assert (outcomes.correct & ~outcomes.robust).sum() > 5 and not outcomes.lost.any()
