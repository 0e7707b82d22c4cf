"""Gaussian: noise in training, votes by the normal distribution, and what attackers can climb."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import norm
from torch import nn

from bench.api import Batch
from bench.core.encoding import override
from bench.errors import BadValue
from bench.nn.smoothed import ROWS, NoisyMean, NoisyVotes, deploy_smoothed
from bench.registry import DEFENSES
from defenses.gaussian import Gaussian


class Plane(nn.Module):
    """Class 1 beyond x1 = 0.5, by a steep slope."""

    def __init__(self, slope=50.0):
        super().__init__()
        self.slope = slope
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        first = x.flatten(1)[:, 0]
        return self.slope * torch.stack([0.5 - first, first - 0.5], 1)


def at(*firsts):
    x = torch.full((len(firsts), 1, 2, 2), 0.3)
    x[:, 0, 0, 0] = torch.tensor(firsts)
    return x


def test_shares_of_votes_are_those_of_the_normal_distribution():
    torch.manual_seed(0)
    firsts, sigma = (0.2, 0.45, 0.5, 0.7), 0.25
    shares = NoisyVotes(Plane(), sigma, votes=20_000)(at(*firsts)).exp()
    known = [norm.cdf((first - 0.5) / sigma) for first in firsts]
    assert shares[:, 1].tolist() == pytest.approx(known, abs=0.015)
    assert shares.sum(1).tolist() == pytest.approx([1.0] * 4)


def test_every_class_has_one_vote_besides_so_that_logits_are_finite():
    logits = NoisyVotes(Plane(), 0.01, votes=98)(at(0.0, 1.0))
    assert torch.allclose(logits.exp(), torch.tensor([[0.99, 0.01], [0.01, 0.99]]))


def test_noise_is_not_clipped_and_passes_in_parts():
    torch.manual_seed(0)
    plane = Plane()
    NoisyVotes(plane, 1.0, votes=700)(at(0.5, 0.5))
    seen = torch.cat(plane.seen)
    assert max(map(len, plane.seen)) <= ROWS and len(seen) == 1400
    assert seen.min() < -1 and seen.max() > 2
    assert (seen - 0.3)[:, 0, 1, 1].std().item() == pytest.approx(1.0, abs=0.1)


def test_attackers_climb_the_mean_of_probabilities():
    torch.manual_seed(0)
    x = at(0.4, 0.6).requires_grad_()
    mean = NoisyMean(Plane(slope=2.0), 0.25, samples=4000)(x)
    draws = 0.25 * torch.randn(100_000, 1)
    known = (4 * (torch.tensor([[0.4, 0.6]]) + draws - 0.5)).sigmoid().mean(0)
    assert mean.exp()[:, 1].tolist() == pytest.approx(known.tolist(), abs=0.02)
    (slope,) = torch.autograd.grad(mean[:, 1].sum(), x)
    assert (slope[:, 0, 0, 0] > 0).all() and (slope[:, 0, 0, 1] == 0).all()


def test_it_says_what_it_is():
    net = Plane()
    deployed = Gaussian(sigma=0.5, votes=7, samples=3).deploy(net)
    assert deployed.randomized and deployed.eot_samples == 1
    assert {trait.value for trait in deployed.traits} == {"randomized", "non-differentiable"}
    assert (deployed.smoothed.network, deployed.smoothed.sigma) == (net, 0.5)
    assert (deployed.predict.votes, deployed.attackable.samples) == (7, 3)
    assert deploy_smoothed(net, 0.1, 2, 2).smoothed.sigma == 0.1


def test_it_trains_on_noise_of_its_sigma_that_nobody_clips(monkeypatch):
    steps = []
    monkeypatch.setattr(
        "defenses.gaussian.fit_classifier", lambda net, context, step, keep: steps.append(step)
    )
    plane, x = Plane(), torch.rand(500, 1, 4, 4)
    Gaussian(sigma=0.5).fit(plane, SimpleNamespace(generator=torch.Generator().manual_seed(0)))
    terms = steps[0](plane, Batch(x, torch.zeros(500, dtype=torch.int64), torch.arange(500)))
    noise = plane.seen[0] - x
    assert noise.std().item() == pytest.approx(0.5, rel=0.05) and abs(noise.mean().item()) < 0.05
    assert plane.seen[0].min() < -0.5 and plane.seen[0].max() > 1.5
    known = torch.nn.functional.cross_entropy(plane(plane.seen[0]), torch.zeros(500, dtype=torch.int64))
    assert {name: term.item() for name, term in terms.items()} == {"noisy": pytest.approx(known.item())}


def test_a_step_is_one_pass(passes):
    assert passes(Gaussian()) == (1, 0, 0, 1)


def test_it_is_registered_with_a_published_sigma():
    assert DEFENSES.get("gaussian") == Gaussian(sigma=0.25)
    assert Gaussian.certificate == "smoothing" and math.isclose(Gaussian().sigma, 0.25)


@pytest.mark.parametrize("settings", [{"sigma": "0"}, {"sigma": "-1"}, {"votes": "0"}, {"samples": "0"}])
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Gaussian(), settings)
