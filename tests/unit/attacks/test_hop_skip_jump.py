"""HopSkipJump: the nearest mistakes of linear classifiers, its phases, its normals, and its queries."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.api import Deployed
from bench.attacks.geometry import distance
from bench.attacks.hop_skip_jump import HALVE, SEEK, SOUND, STRIDE, HopSkipJump, _Walk
from bench.core.threat import DECISIONS, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

EVERYTHING = {norm: Budget(norm, Fraction(100)) for norm in Norm}
norms = pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2], ids=lambda norm: norm.value)


@norms
def test_it_comes_near_the_nearest_mistake_of_a_linear_classifier(norm: Norm, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=DECISIONS)
    x_adv = HopSkipJump(queries=1000)(oracle, problem.x, problem.y, EVERYTHING[norm], seeded(0))
    found = distance(x_adv, problem.x, norm)

    def worst(share: float) -> torch.Tensor:
        budgets = (Budget(norm, Fraction(length.item() * share)) for length in found)
        return torch.stack([problem.worst_margin(budget)[row] for row, budget in enumerate(budgets)])

    assert (problem.margin(x_adv) > -1e-6).all()
    assert (worst(1.0) > -1e-5).all()
    assert (worst(0.8) < 0).all()
    assert (worst(0.92) < 0).float().mean() > 0.5


@norms
def test_more_queries_come_nearer(norm: Norm, problem, seeded) -> None:
    lengths, found = [], []
    for queries in (40, 150, 400):
        oracle = problem.oracle(confirms=False, knowledge=DECISIONS)
        x_adv = HopSkipJump(queries=queries)(oracle, problem.x, problem.y, EVERYTHING[norm], seeded(0))
        found.append(problem.margin(x_adv) > -1e-6)
        lengths.append(torch.where(found[-1], distance(x_adv, problem.x, norm), torch.inf))
    assert (lengths[1] <= lengths[0]).all() and (
        lengths[2] <= lengths[1]
    ).all()  # the same walk, followed longer
    assert (lengths[2] < 0.9 * lengths[0]).all() and found[2].all()


@norms
def test_phases_follow_each_other_and_examples_walk_alone(norm: Norm, problem, seeded) -> None:
    """Alone or among others, answered the same, an example asks the same number of each phase's questions."""
    walk, generator, seen = _Walk(problem.x, norm, 10, 1.0), seeded(0), []
    for _ in range(150):
        seen.append(walk._phase.clone())
        images = walk.question(generator)
        assert images.min() >= 0 and images.max() <= 1
        walk.learn(images, problem.margin(images) > 0)
    order = torch.stack(seen)
    after = {SEEK: {SEEK, HALVE}, HALVE: {HALVE, SOUND}, SOUND: {SOUND, STRIDE}, STRIDE: {STRIDE, HALVE}}
    for before, now in zip(order[:-1].flatten().tolist(), order[1:].flatten().tolist(), strict=True):
        assert now in after[before]
    assert len({tuple(column) for column in order.T.tolist()}) > 10  # not in step
    for column in order.T.tolist():
        first = column.index(SOUND)
        assert column[first : first + 10] == [SOUND] * 10 and column[first + 10] == STRIDE
        rest = column[first + 10 :]
        if SOUND in rest:
            again = rest.index(SOUND)
            assert rest[again : again + 14] == [SOUND] * 14 and rest[again + 14] == STRIDE  # 10 sqrt(2)


@norms
def test_normals_of_a_linear_boundary(norm: Norm, make_problem, seeded) -> None:
    """Many probes at the boundary of a linear classifier: the estimate points along its weights."""
    problem = make_problem(n=10)
    x = problem.x.clamp(0.3, 0.7)
    walk, generator = _Walk(x, norm, 1000, 1.0), seeded(0)
    walk._point = x + 0.0
    weight = problem.network.weight.detach()
    normal = (weight[1] - weight[0]).reshape(1, 1, 6, 6)
    walk._begin_sounding(torch.ones(10, dtype=torch.bool))
    for _ in range(1000):
        probe = walk.question(generator)
        walk.learn(probe, ((probe - x) * normal).sum((1, 2, 3)) > 0)  # the boundary goes through the point
    direction = walk._direction
    assert (walk._phase == STRIDE).all()
    if norm is Norm.LINF:
        agreed = (direction * normal).sum((1, 2, 3)) / normal.abs().sum()  # 1: every sign; small weights err
        assert agreed.min() > 0.9
    else:
        assert torch.cosine_similarity(direction.flatten(1), normal.flatten(1)).min() > 0.95


@pytest.mark.parametrize("queries", [1, 2, 63])
@norms
def test_no_more_queries_than_allowed(norm: Norm, queries: int, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=DECISIONS)
    budget = Budget(norm, Fraction("0.1"))
    x_adv = HopSkipJump(queries=queries)(oracle, problem.x, problem.y, budget, seeded(0))
    assert set(oracle.forwards.tolist()) == {queries} and oracle.backwards.sum() == 0
    assert (distance(x_adv, problem.x, norm) <= budget.radius + 1e-6).all()


@pytest.mark.parametrize(("norm", "eps"), [(Norm.LINF, "0.1"), (Norm.L2, "0.5")])
def test_labels_suffice_and_what_broke_an_example_is_returned(norm, eps, problem, seeded) -> None:
    budget = Budget(norm, Fraction(eps))
    deployed, batches = Deployed(problem.network), Batches(64)
    referee, ledger = Referee(deployed, budget, batches), Ledger(problem.x, problem.y, 2)
    oracle = MeteredOracle(Access(deployed, DECISIONS, {}, PLAIN), referee, ledger, batches)
    x_adv = HopSkipJump(queries=400)(oracle, problem.x, problem.y, budget, seeded(0))
    broken, reachable = oracle.broken(), problem.worst_margin(budget) > 0
    easily = problem.worst_margin(Budget(norm, budget.eps * Fraction("0.8"))) > 0
    assert (distance(x_adv, problem.x, norm) <= budget.radius + 1e-6).all()
    assert (problem.margin(x_adv) > 0)[broken].all() and not (broken & ~reachable).any()
    assert broken[easily].float().mean() > 0.9 and easily.sum() > 5


@norms
def test_a_network_that_errs_nowhere_is_asked_for_ever_and_moves_nothing(
    norm: Norm, make_oracle, seeded
) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    torch.nn.init.zeros_(network[1].weight)
    network[1].bias.data = torch.tensor([1.0, 0, 0])
    x, y = torch.rand(2, 1, 4, 4, generator=seeded(0)), torch.zeros(2, dtype=torch.int64)
    x_adv = HopSkipJump(queries=20)(make_oracle(network, y, 3, DECISIONS), x, y, EVERYTHING[norm], seeded(0))
    assert torch.equal(x_adv, x)


@pytest.mark.parametrize(("wrong", "hint"), [({"samples": 0}, "samples=1"), ({"gamma": 0.0}, "gamma=1")])
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        HopSkipJump(**wrong)
