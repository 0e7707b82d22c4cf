"""The harness enforces query limits: greedy attacks on a network whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
import torch
from torch import Generator, Tensor, nn

from bench.api import Attack, Deployed, Oracle, Trial
from bench.core.outcomes import NEVER, Outcomes
from bench.core.threat import DECISIONS, SCORES, Budget, Knowledge, Norm
from bench.errors import QueriesSpent
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import PLAIN

LIMIT = 7
LEVELS = (0.1, 0.2, 0.45, 0.9)  # classes 0, 0, 0, 1; only the third is within a tenth of the boundary
REACHABLE = 2

KNOWLEDGE = [replace(SCORES, max_queries=LIMIT), replace(DECISIONS, max_queries=LIMIT)]

both_feedbacks = pytest.mark.parametrize("knowledge", KNOWLEDGE, ids=["scores", "decisions"])


class Threshold(nn.Module):
    """Class 1 where the mean pixel exceeds one half; counts the images that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0

    def forward(self, x: Tensor) -> Tensor:
        self.shown += len(x)
        gap = x.flatten(1).mean(dim=1) - 0.5
        return torch.stack([-gap, gap], dim=1)


@dataclass(frozen=True)
class Scripted:
    """An attack that is one function."""

    play: Callable[[Oracle, Tensor], Tensor]

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        return self.play(oracle, x)


def outcomes_of(attack: Callable[[Oracle, Tensor], Tensor], knowledge: Knowledge) -> Outcomes:
    """What the harness says of a scripted attack on images of the known levels."""
    x = torch.tensor(LEVELS)[:, None, None, None].expand(len(LEVELS), 1, 2, 2).contiguous()
    y = (torch.tensor(LEVELS) > 0.5).long()
    arena = Arena(Deployed(Threshold()), Budget(Norm.LINF, Fraction(1, 10)), 2, {}, PLAIN, Batches(8), seed=0)
    scripted: Attack = Scripted(attack)
    cell = play(arena, Trial("greedy", scripted, knowledge), Chunk(0, x, y, torch.arange(len(x))), 0)
    assert cell.outcomes is not None, cell.error
    return cell.outcomes


def ask(oracle: Oracle, x: Tensor) -> None:
    """One query in the words that the knowledge allows."""
    (oracle.labels if oracle.knowledge.feedback is DECISIONS.feedback else oracle.logits)(x)


@both_feedbacks
def test_an_attack_that_asks_for_ever_is_charged_its_limit_and_no_more(knowledge):
    asked = 0

    def greedy(oracle, x):
        nonlocal asked
        while True:
            ask(oracle, x)
            asked += 1

    outcomes = outcomes_of(greedy, knowledge)
    assert outcomes.forwards.tolist() == [LIMIT] * 4 and asked == LIMIT
    assert outcomes.backwards.tolist() == [0] * 4
    assert outcomes.robust.all() and (outcomes.first_success == NEVER).all()


@both_feedbacks
def test_an_attack_that_takes_no_for_an_answer_gets_no_more(knowledge):
    refused = 0

    def stubborn(oracle, x):
        nonlocal refused
        for _ in range(3 * LIMIT):
            try:
                ask(oracle, x)
            except QueriesSpent:
                refused += 1
        return x

    assert outcomes_of(stubborn, knowledge).forwards.tolist() == [LIMIT] * 4
    assert refused == 2 * LIMIT


@both_feedbacks
@pytest.mark.parametrize("at", [1, 4, LIMIT])
def test_what_was_found_before_the_limit_counts(knowledge, at):
    def lucky_once(oracle, x):
        for turn in range(1, 100):
            ask(oracle, x + 0.1 if turn == at else x)
        raise AssertionError("the limit was not enforced")

    outcomes = outcomes_of(lucky_once, knowledge)
    broken = [place == REACHABLE for place in range(4)]
    assert (~outcomes.robust).tolist() == broken
    assert outcomes.first_success.tolist() == [at if here else NEVER for here in broken]
    assert outcomes.forwards.tolist() == [at if here else LIMIT for here in broken], "a success costs no more"
    assert outcomes.distance[REACHABLE] == pytest.approx(0.1, abs=1e-6)


@both_feedbacks
def test_what_would_be_found_one_query_later_does_not_count(knowledge):
    def too_late(oracle, x):
        for _ in range(LIMIT):
            ask(oracle, x)
        ask(oracle, x + 0.1)
        return x + 0.1

    outcomes = outcomes_of(too_late, knowledge)
    assert outcomes.robust.all() and outcomes.forwards.tolist() == [LIMIT] * 4


@both_feedbacks
def test_the_limit_holds_through_views(knowledge):
    """Every example on its own, then views of views: the queries stay with the example."""

    def one_by_one(oracle, x):
        for place in range(4):
            rows = torch.tensor([place])
            view = oracle.only(rows)
            with pytest.raises(QueriesSpent):
                while True:
                    ask(view, x[rows])
            with pytest.raises(QueriesSpent):
                ask(oracle.only(torch.tensor([place, (place + 1) % 4])).only(torch.tensor([0])), x[rows])
        return x

    assert outcomes_of(one_by_one, knowledge).forwards.tolist() == [LIMIT] * 4


@both_feedbacks
def test_views_share_the_limit_of_an_example(knowledge):
    def in_turns(oracle, x):
        evens, odds = torch.tensor([0, 2]), torch.tensor([1, 2, 3])
        views = [(oracle.only(rows), rows) for rows in (evens, odds)]
        for turn in range(6):  # the third is in both: six queries
            view, rows = views[turn % 2]
            ask(view, x[rows])
        ask(oracle, x)  # its seventh
        with pytest.raises(QueriesSpent):
            ask(oracle.only(torch.tensor([2])), x[[2]])
        return x

    assert outcomes_of(in_turns, knowledge).forwards.tolist() == [4, 4, LIMIT, 4]


@both_feedbacks
def test_who_spent_nothing_is_not_robbed_by_who_spent_all_in_a_view(knowledge):
    def rest_alone(oracle, x):
        first, rest = torch.tensor([0]), torch.tensor([1, 2, 3])
        for _ in range(LIMIT):
            ask(oracle.only(first), x[first])
        for _ in range(LIMIT):
            ask(oracle.only(rest), x[rest] + 0.1)
        return x

    outcomes = outcomes_of(rest_alone, knowledge)
    assert outcomes.forwards.tolist() == [LIMIT, LIMIT, 1, LIMIT] and not outcomes.robust[REACHABLE]


@both_feedbacks
def test_a_broken_example_that_spent_its_limit_stops_nobody(knowledge):
    def last_minute(oracle, x):
        there = torch.tensor([REACHABLE])
        for turn in range(LIMIT):
            ask(oracle.only(there), x[there] + (0.1 if turn == LIMIT - 1 else 0))
        for _ in range(LIMIT):
            ask(oracle, x)
        return x

    outcomes = outcomes_of(last_minute, knowledge)
    assert outcomes.forwards.tolist() == [LIMIT] * 4
    assert outcomes.first_success[REACHABLE] == LIMIT


@both_feedbacks
def test_asking_for_all_when_one_has_spent_its_limit_does_not_rob_the_others(knowledge):
    def whole_again(oracle, x):
        first = torch.tensor([0])
        for _ in range(LIMIT):
            ask(oracle.only(first), x[first])
        for _ in range(LIMIT):
            ask(oracle, x + 0.1)
        return x

    outcomes = outcomes_of(whole_again, knowledge)
    assert outcomes.forwards.tolist() == [LIMIT, LIMIT, 1, LIMIT]
    assert not outcomes.robust[REACHABLE] and outcomes.first_success[REACHABLE] == 1


@both_feedbacks
def test_one_example_many_times_in_a_view_costs_every_query(knowledge):
    def crowded(oracle, x):
        rows = torch.tensor([0, 0, 0])
        ask(oracle.only(rows), x[rows] + torch.tensor([0.01, 0.02, 0.03])[:, None, None, None])
        return x

    network_saw = outcomes_of(crowded, knowledge).forwards.tolist()
    assert network_saw == [3, 0, 0, 0]


@both_feedbacks
@pytest.mark.parametrize("through", ["only", "lend"])
def test_the_limit_holds_for_one_example_many_times_at_once(knowledge, through):
    def crowd(oracle, x):
        rows = torch.tensor([0, 0, 0])
        view = oracle.lend() if through == "lend" else oracle.only(rows)
        while True:
            view(x[rows]) if through == "lend" else ask(view, x[rows])

    assert outcomes_of(crowd, knowledge).forwards.tolist() == [LIMIT, 0, 0, 0]


@both_feedbacks
def test_the_limit_holds_for_a_network_that_was_lent(knowledge):
    asked = 0

    def greedy(oracle, x):
        nonlocal asked
        network = oracle.lend()
        while True:
            network(x + 0.1 if asked == 2 else x)
            asked += 1

    outcomes = outcomes_of(greedy, knowledge)
    assert outcomes.forwards.tolist() == [LIMIT, LIMIT, 3, LIMIT] and asked < 100
    assert outcomes.first_success.tolist() == [NEVER, NEVER, 3, NEVER]
