"""Scouts reach the closed form, cost what they say, and give more to what is nearer to a mistake."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.api import Deployed, Trial
from bench.attacks.fast import BestSoFar
from bench.attacks.losses import most_confusing
from bench.attacks.scouts import RestartScout, SearchScout, TargetScout
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics

SCOUTS = [TargetScout(), RestartScout(), SearchScout(), TargetScout(rounds=3), SearchScout(rounds=3)]
FAINT = Budget(Norm.LINF, Fraction("1/100000"))


@pytest.mark.parametrize("attack", SCOUTS, ids=str)
@pytest.mark.parametrize(("norm", "eps"), [("Linf", "0.02"), ("Linf", "0.4"), ("L2", "0.3")])
def test_a_linear_network_breaks_exactly_where_its_closed_form_says(problem, seeded, attack, norm, eps):
    budget = Budget(Norm(norm), Fraction(eps))
    oracle = problem.oracle()
    x_adv = attack(oracle, problem.x, problem.y, budget, seeded(0))
    worst = problem.worst_margin(budget)
    sure = worst.abs() > (1e-4 if norm == "Linf" else 1e-2)
    fallen = oracle.broken() | (problem.margin(x_adv) > 0)
    assert (fallen == (worst > 0))[sure].all()


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        # of two classes one is wrong: one target; one query for the clean logits, one to end each climb, and
        # one for the margin that it reached
        (TargetScout(targets=3, steps=7), 1 + 7 + 2, 7),
        (RestartScout(restarts=2, steps=5), 2 * (5 + 1), 10),
        (SearchScout(steps=4, queries=20), 4 + 1 + 20 + 1, 4),
        (SearchScout(steps=4, climbs=3, queries=20), 3 * (4 + 1) + 20 + 1, 12),
    ],
    ids=lambda value: str(value) if not isinstance(value, int) else "",
)
def test_it_costs_what_it_says(problem, seeded, attack, forwards, backwards):
    oracle = problem.oracle()
    attack(oracle, problem.x, problem.y, FAINT, seeded(0))
    assert oracle.forwards.tolist() == [forwards] * len(problem.y)
    assert oracle.backwards.tolist() == [backwards] * len(problem.y)


def test_each_round_gives_three_times_the_queries_to_the_nearer_half(problem):
    """The worst margin of a linear network is known: the nearer, the more rounds, and nobody else."""
    network = problem.network.requires_grad_(False)
    chunk = Chunk(0, problem.x, problem.y, torch.arange(len(problem.y)))
    arena = Arena(Deployed(network), FAINT, 2, {}, Numerics(), Batches(64), seed=0)
    outcomes = play(
        arena, Trial("a", SearchScout(steps=2, queries=10, rounds=3), WHITE_BOX), chunk, 0
    ).outcomes
    n, spent = len(problem.y), torch.as_tensor(outcomes.forwards)
    first, second, third = 2 + 1 + 10 + 1, 30 + 1, 90 + 1
    plays = [first, first + second, first + second + third]
    assert set(spent.tolist()) == set(plays)
    assert [int((spent >= cost).sum()) for cost in plays] == [n, n // 2, n // 4]
    worst = problem.worst_margin(FAINT)
    for cost in plays[1:]:
        assert worst[spent >= cost].min() > worst[spent < cost].max() - 1e-3


def test_a_later_round_begins_at_more_points_by_climbs_as_short(problem):
    network = problem.network.requires_grad_(False)
    chunk = Chunk(0, problem.x, problem.y, torch.arange(len(problem.y)))
    arena = Arena(Deployed(network), FAINT, 2, {}, Numerics(), Batches(64), seed=0)
    scout = RestartScout(restarts=1, steps=5, rounds=3)
    outcomes = play(arena, Trial("a", scout, WHITE_BOX), chunk, 0).outcomes
    assert set(outcomes.backwards.tolist()) == {5, 5 + 3 * 5, 5 + 3 * 5 + 9 * 5}
    assert set(outcomes.forwards.tolist()) == {6, 6 + 3 * 6, 6 + 3 * 6 + 9 * 6}


def test_targets_move_on_from_round_to_round_and_begin_again(monkeypatch, seeded):
    """Of six classes five are wrong: two targets in each of three rounds are 1, 2, then 3, 4, then 5, 1."""
    ranks = []

    def noted(logits, y, rank=1):
        ranks.append(rank)
        return most_confusing(logits, y, rank)

    monkeypatch.setattr("bench.attacks.scouts.most_confusing", noted)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 6)).requires_grad_(False)
    x = torch.rand(9, 1, 4, 4, generator=seeded(0))
    chunk = Chunk(0, x, network(x).argmax(1), torch.arange(9))
    arena = Arena(Deployed(network), FAINT, 6, {}, Numerics(), Batches(64), seed=0)
    scout = TargetScout(targets=2, rounds=3, steps=1)
    assert play(arena, Trial("a", scout, WHITE_BOX), chunk, 0).outcomes.robust.all()
    assert ranks == [1, 2, 3, 4, 5, 1]


def test_a_margin_that_is_no_number_ends_nothing():
    best = BestSoFar(torch.zeros(1, 1, 1, 1), torch.tensor([0.5]))
    best = best.after(torch.ones(1, 1, 1, 1), torch.tensor([torch.nan]))
    assert (best.x.item(), best.margin.item()) == (0, 0.5)
    best = best.after(torch.full((1, 1, 1, 1), 2.0), torch.tensor([9.0]))
    assert (best.x.item(), best.margin.item()) == (2, 9)
