"""Proofs of single examples: votes of each example's own noise, margins that rounding cannot turn."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from scipy.stats import norm
from torch import nn

from bench.api import Smoothed
from bench.core.threat import Budget, Norm
from bench.evaluate.batches import Batches
from bench.studies.certify.proofs import PIECE, bounded, margins, votes


class Thirds(nn.Module):
    """Class 1 right of a half in the first pixel, class 0 left of it; left of nothing no number."""

    def forward(self, x):
        first = x.flatten(1)[:, :1]
        logits = torch.cat([0.5 - first, first - 0.5], 1)
        return torch.where(first < 0, torch.nan, logits)


def counts(batches=64, ids=(5, 9), copies=20_000, stream=("smoothing", 0, "votes_0000")):
    x = torch.full((2, 1, 4, 4), 0.5)
    x[1] = 0.7
    return votes(Smoothed(Thirds(), 0.5), x, ids, copies, stream, Batches(batches))


def test_shares_are_those_of_the_normal_distribution_and_no_number_is_no_vote():
    found = counts() / 20_000
    for row, first in zip(found, (0.5, 0.7), strict=True):
        none, right = norm.cdf(-first / 0.5), 1 - norm.cdf((0.5 - first) / 0.5)
        assert abs(row[1] - right) < 0.015 and abs(row[0] - (1 - none - right)) < 0.015


def test_noise_is_named_by_stream_and_example_alone():
    few = counts(copies=3 * PIECE + 7)
    assert np.array_equal(few, counts(batches=7, copies=3 * PIECE + 7))
    swapped = counts(ids=(9, 5), copies=3 * PIECE + 7)
    assert not np.array_equal(few, swapped)
    assert not np.array_equal(few, counts(copies=3 * PIECE + 7, stream=("smoothing", 0, "select")))
    assert few.sum() < 2 * (3 * PIECE + 7) and (counts(copies=1).sum(1) <= 1).all()


def test_a_margin_that_rounding_may_turn_is_none():
    """A layer whose margin is exactly 0 at the corner of the box, and one a hair above."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        net[1].bias.copy_(torch.tensor([-0.25, 0.25]))
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    budget = Budget(Norm.LINF, Fraction(1, 4))
    for tight in (False, True):
        assert margins(bounded(net), x, y, budget, tight).item() < 0
        wider = Budget(Norm.LINF, Fraction(24, 100))
        assert margins(bounded(net), x, y, wider, tight).item() > 0.01
