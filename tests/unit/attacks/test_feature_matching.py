"""Feature matching and attacks that know a detector, on toys for which it is known what can be reached."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.aware import DetectorAware, Selective, Suspected, Trust, Weighted, without
from bench.attacks.feature_matching import FeatureMatching, nearest_of_each_class
from bench.attacks.pgd import PGD
from bench.core.outcomes import REFUSED
from bench.core.threat import SCORES, WHITE_BOX, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.adaptive import answered_by, why_skipped
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import PLAIN

BUDGET = Budget(Norm.LINF, Fraction(1, 4))


def played(deployed, attack, x, y, budget=BUDGET, classes=2, knowledge=WHITE_BOX):
    arena = Arena(deployed, budget, classes, {}, PLAIN, Batches(64), seed=0)
    return play(arena, Trial("it", attack, knowledge), Chunk(0, x, y, torch.arange(len(x))), 0)


class Flattened(nn.Module):
    """A linear network whose logits saturate: their float gradient vanishes, their order is unchanged."""

    def __init__(self, weight):
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], len(weight), bias=False)
        self.linear.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x):
        return torch.tanh(1e3 * self.linear(x.flatten(1) - 0.5))


def separated(n=40, seed=0):
    """Images of two classes, apart by 0.2 in the two left pixels and alike in all others; two eps is 0.5."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.full((n, 1, 2, 2), 0.5) + 0.02 * torch.randn(n, 1, 2, 2, generator=generator)
    x[:, 0, :, 0] += torch.where(y == 1, 0.1, -0.1)[:, None]
    weight = torch.tensor([[-1.0, 0, -1, 0], [1, 0, 1, 0]])
    return Flattened(weight), x, y


def test_features_are_matched_where_logits_have_no_gradient():
    network, x, y = separated()
    assert (network(x).argmax(1) == y).all()
    blocked = played(Deployed(network), PGD(steps=20, random_start=False), x, y)
    assert blocked.outcomes.robust.all() and blocked.flat_gradients == len(x), "tanh is flat at 1e3"
    matched = played(Deployed(network), FeatureMatching(steps=30, guides=1), x, y)
    assert not matched.outcomes.robust.any(), "every image can become its guide: they are 0.2 apart"
    assert not matched.outcomes.moved.any() and not matched.outcomes.lost.any()


def test_an_image_cannot_resemble_what_is_out_of_reach():
    network, x, y = separated()
    near = played(Deployed(network), FeatureMatching(steps=30), x, y, Budget(Norm.LINF, Fraction(1, 50)))
    assert near.outcomes.robust.all(), "the boundary is 0.1 away, but for noise of 0.02"
    assert (near.outcomes.distance <= 0.02 + 1e-6).all()


def test_what_it_costs_is_one_query_and_its_steps_for_each_guide():
    network, x, y = separated()
    outcomes = played(
        Deployed(network), FeatureMatching(steps=7, guides=3), x, y, Budget(Norm.LINF, Fraction(1, 50))
    ).outcomes
    assert outcomes.forwards.tolist() == [1 + 7] * len(x), "there is one other class, so one guide"
    assert outcomes.backwards.tolist() == [7] * len(x)


def test_alone_or_among_its_own_class_an_image_has_no_guide():
    network, x, y = separated()
    for rows in (torch.tensor([0]), (y == 1).nonzero().squeeze(1)):
        outcomes = played(Deployed(network), FeatureMatching(), x[rows], y[rows]).outcomes
        assert outcomes.robust.all() and (outcomes.distance == 0).all()


def test_guides_are_the_nearest_of_each_other_class_nearest_class_first():
    features = torch.tensor([[0.0], [1.0], [5.0], [3.0], [-2.0]])
    y = torch.tensor([0, 1, 1, 2, 2])
    ranked = nearest_of_each_class(features, y)
    by_hand = [[1, 4], [0, 3], [3, 0], [1, 0], [0, 1]]  # distances such as |0 - 1| < |0 + 2|
    assert ranked.tolist() == by_hand


def test_without_gradients_there_are_no_features():
    network, x, y = separated()
    cell = played(Deployed(network), FeatureMatching(), x, y, knowledge=SCORES)
    assert cell.outcomes is None and "gives no gradients, so no features either" in cell.error


# A classifier by a sum in which one pixel counts three times, and a detector of that pixel standing out. The
# steepest way under L2 goes by that pixel, and is refused; all pixels raised alike get there as well.

STEEP = Budget(Norm.L2, Fraction(1, 4))


class Sum(nn.Module):
    def forward(self, x):
        flat = x.flatten(1)
        total = flat @ torch.tensor([1.0, 1.0, 1.0, 3.0]) - 3
        return torch.stack([-total, total], 1)


def spread(x):
    flat = x.flatten(1)
    return flat[:, 3] - flat[:, 0] - 0.05


def guarded(**more):
    return Deployed(Sum(), detector=lambda x: spread(x) > 0, suspicion=spread, **more)


def grey(n=12):
    """Of class 0: the sum lacks 0.36 to 0.6, so all pixels raised by 0.1 (0.2 under L2) are enough."""
    levels = torch.linspace(0.4, 0.44, n)
    return levels[:, None, None, None].expand(n, 1, 2, 2).contiguous(), torch.zeros(n, dtype=torch.int64)


def test_a_plain_attack_is_refused_and_one_that_knows_the_detector_passes():
    x, y = grey()
    plain = played(guarded(), PGD(steps=20, random_start=False, loss="margin"), x, y, STEEP)
    assert (plain.outcomes.attacked == REFUSED).all() and plain.outcomes.robust.all()
    for rule in ("selective", "orthogonal", "sum"):
        aware = played(guarded(), DetectorAware(rule=rule, steps=60), x, y, STEEP)
        assert not aware.outcomes.robust.any(), rule
        assert (aware.outcomes.attacked == 1).all(), "wrong, and accepted"


def test_what_cannot_be_both_wrong_and_accepted_stands():
    x, y = grey()
    strict = Deployed(Sum(), suspicion=lambda x: Sum()(x)[:, 1] + 1e-3)  # refuses whatever is of class 1
    for rule in ("selective", "orthogonal", "sum"):
        assert played(strict, DetectorAware(rule=rule, steps=30), x, y).outcomes.robust.all()


def test_a_suspicion_alone_is_a_detector_too():
    x, y = grey()
    plain = played(
        Deployed(Sum(), suspicion=lambda x: x.flatten(1)[:, 0] - 0.5), PGD(random_start=False), x, y
    )
    assert (plain.outcomes.attacked == REFUSED).all()


def test_orthogonal_costs_two_gradients_a_step_and_the_others_one():
    x, y = grey(3)
    late = Deployed(Sum(), suspicion=lambda x: Sum()(x)[:, 1] + 1e-3)
    for rule, cost in (("orthogonal", 20), ("selective", 10), ("sum", 10)):
        assert (
            played(late, DetectorAware(rule=rule, steps=10), x, y).outcomes.backwards.tolist() == [cost] * 3
        )


def test_losses_of_a_detector_by_hand():
    answer = Suspected(torch.tensor([[2.0, 1.0], [1.0, 4.0], [1.0, 4.0]]), torch.tensor([0.5, 0.7, -0.2]))
    y = torch.zeros(3, dtype=torch.int64)
    assert torch.allclose(Selective()(answer, y), torch.tensor([-1.0, -0.7, 0.2]))
    assert torch.allclose(Selective(confidence=5)(answer, y), torch.tensor([-1.0, 3.0, 3.0]))
    assert torch.allclose(Weighted(confidence=2, weight=2)(answer, y), torch.tensor([-2.0, 0.6, 2.0]))
    assert torch.allclose(Trust()(answer, y), torch.tensor([-0.5, -0.7, 0.2]))


def test_a_projected_gradient_is_orthogonal_and_a_collinear_one_is_kept():
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(5, 1, 3, 3, generator=generator) for _ in range(2))
    left = without(one, two)
    assert (left * two).flatten(1).sum(1).abs().max() < 1e-5
    assert torch.allclose(left + (one - left), one) and (one - left).flatten(1).norm(dim=1).min() > 0
    assert torch.equal(without(one, -3 * one), one), "nothing would be left"
    assert torch.equal(without(one, torch.zeros_like(one)), one)


def test_what_only_says_yes_or_no_cannot_be_climbed_and_that_is_told():
    trial = Trial("it", DetectorAware(), WHITE_BOX)
    blunt = Deployed(Sum(), detector=lambda x: spread(x) > 0)
    arena = Arena(blunt, BUDGET, 2, {}, PLAIN, Batches(8), seed=0)
    assert "yes or no" in why_skipped(trial, arena)
    assert (
        why_skipped(trial, Arena(Deployed(Sum()), BUDGET, 2, {}, PLAIN, Batches(8), seed=0))
        == "the defense refuses nothing"
    )
    aware = Arena(guarded(), BUDGET, 2, {}, PLAIN, Batches(8), seed=0)
    assert why_skipped(trial, aware) is None
    assert {trait.value for trait in answered_by(trial, aware, climbed=True)} == {"detector"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureMatching(steps=0), "FeatureMatching.steps is 0"),
        (lambda: FeatureMatching(guides=-1), "FeatureMatching.guides is -1"),
        (lambda: DetectorAware(rule="both"), "DetectorAware.rule is 'both', expected one of selective"),
        (lambda: DetectorAware(steps=True), "DetectorAware.steps is True"),
        (lambda: DetectorAware(confidence=float("nan")), "DetectorAware.confidence is nan"),
        (lambda: DetectorAware(weight=-1), "DetectorAware.weight is -1"),
    ],
)
def test_a_parameter_out_of_range_is_one_sentence(make, message):
    with pytest.raises(BadValue, match=message):
        make()
