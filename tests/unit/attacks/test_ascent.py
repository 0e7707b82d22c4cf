"""The attack inside training: where its first gradient is taken, and what comes out of it."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.attacks.ascent import Ascent
from bench.attacks.losses import cross_entropy, targeted_cross_entropy, towards
from bench.core.threat import Budget, Norm
from bench.train.inner import attack_network

BUDGET = Budget(Norm.LINF, Fraction("0.3"))


class Watched(nn.Module):
    """A linear classifier that keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.linear(x.flatten(1))


def attacked(attack):
    torch.manual_seed(0)
    net, x, y = Watched(), torch.rand(8, 1, 8, 8).round(), torch.zeros(8, dtype=torch.int64)
    generator = torch.Generator().manual_seed(1)
    found = attack_network(net, attack, x, y, budget=BUDGET, generator=generator, num_classes=3)
    return net.seen, x, found


@pytest.mark.parametrize("start", ["uniform", "gaussian"])
def test_without_clip_start_the_first_gradient_alone_is_taken_outside_of_the_box(start):
    (clipped, *_), _, _ = attacked(Ascent(cross_entropy, 3, Fraction("1/4"), start))
    (first, *later), x, x_adv = attacked(Ascent(cross_entropy, 3, Fraction("1/4"), start, clip_start=False))
    assert clipped.min() >= 0 and clipped.max() <= 1
    assert torch.equal(first.clamp(0, 1), clipped), "the same draws"
    outside = ((first < 0) | (first > 1)).float().mean()
    assert outside == pytest.approx(0.5, abs=0.1), "of black and white images every other pixel"
    assert (first - x).abs().max() <= (0.3 + 1e-6 if start == "uniform" else 0.01)
    for image in (*later, x_adv):
        assert image.min() >= 0 and image.max() <= 1 and (image - x).abs().max() <= 0.3 + 1e-6


def test_one_step_from_where_the_box_was_left_is_another_image():
    """0 + u - 0.3 sign: from u = -0.2 clipped to 0 the step of 0.1 up leads to 0.1, unclipped to 0."""
    step = Fraction("1/3")
    _, _, clipped = attacked(Ascent(cross_entropy, 1, step))
    (first, *_), _, free = attacked(Ascent(cross_entropy, 1, step, clip_start=False))
    inside = (first >= 0) & (first <= 1)
    assert torch.equal(free[inside], clipped[inside]), "a linear network has one gradient everywhere"
    assert (free != clipped)[~inside].float().mean() > 0.3
    moved = free[~inside] - first[~inside]
    assert ((moved.abs() - 0.1).abs() < 1e-6).logical_or((free == 0)[~inside] | (free == 1)[~inside]).all()


def test_towards_is_the_targeted_loss_of_given_targets():
    logits, target = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    assert torch.equal(towards(logits, target), targeted_cross_entropy(logits, target, target))
