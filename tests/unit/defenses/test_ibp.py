"""IBP: both terms by hand, the schedule of radius and weight, what it reduces to, what it refuses."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bench.core.encoding import override
from bench.core.threat import Budget, Norm
from bench.errors import BadValue
from bench.registry import DEFENSES
from defenses.ibp import Ibp
from defenses.standard import Standard

HALVES, WORST = [math.log(0.5), math.log(0.5)], [0.0, math.log(3)]


def test_both_terms_by_hand():
    terms = Ibp(kappa=0.25).terms(torch.tensor([HALVES]), torch.tensor([WORST]), torch.tensor([0]))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"clean": 0.25 * math.log(2), "worst": 0.75 * math.log(4)}, abs=1e-6
    )
    begun = Ibp(kappa=0.25).terms(torch.tensor([HALVES]), torch.tensor([WORST]), torch.tensor([0]), 0.5)
    assert begun["clean"].item() == pytest.approx(0.625 * math.log(2), abs=1e-6)
    assert begun["worst"].item() == pytest.approx(0.375 * math.log(4), abs=1e-6)


def test_the_radius_waits_and_then_rises_linearly():
    ibp = Ibp(warm_up=0.2, ramp=0.4)
    shares = [ibp.share(Fraction(step, 10)) for step in range(10)]
    assert shares == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert Ibp(warm_up=0, ramp=0).share(Fraction(0)) == 1.0


def test_while_it_waits_it_is_natural_training(short):
    """The only difference is what rounds in its own pass through the network."""
    ours, natural = short(Ibp(warm_up=1, ramp=0)).state_dict(), short(Standard()).state_dict()
    assert all(torch.allclose(ours[key].float(), natural[key].float(), atol=1e-4) for key in natural)


def test_an_epoch_knows_how_far_it_is(short, monkeypatch):
    seen = []
    share = Ibp.share
    monkeypatch.setattr(Ibp, "share", lambda self, elapsed: seen.append(elapsed) or share(self, elapsed))
    short(Ibp(warm_up=0, ramp=0), steps=3)
    assert len(seen) == 3 and all(0 <= elapsed < 1 for elapsed in seen) and sorted(set(seen)) == seen


def test_batch_statistics_are_counted_once_for_each_step(short):
    state = short(Ibp(), steps=3).state_dict()
    assert {state[key].item() for key in state if key.endswith("num_batches_tracked")} == {3}


def test_a_step_is_three_passes(passes):
    assert passes(Ibp()) == (3, 0, 0, 3), "the images, the centres and the radii of their boxes"


def test_it_is_registered_with_the_published_weight_and_a_ramp_for_short_recipes():
    assert DEFENSES.get("ibp") == Ibp(kappa=0.5, warm_up=0.1, ramp=0.6)


def test_what_bounds_cannot_follow_and_boxes_of_everything_are_one_sentence():
    context = SimpleNamespace(budget=Budget(Norm.LINF, Fraction(1, 10)))
    with pytest.raises(BadValue, match=r"ibp cannot bound this network \(torch.fx cannot trace it"):
        Ibp().fit(Decides(), context)
    context = SimpleNamespace(budget=Budget(Norm.L0, Fraction(3)))
    with pytest.raises(BadValue, match="under L0 that of any radius holds every image"):
        Ibp().fit(nn.Flatten(), context)


class Decides(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    "settings", [{"kappa": "2"}, {"warm_up": "-1"}, {"ramp": "1.5"}, {"warm_up": "0.6", "ramp": "0.6"}]
)
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Ibp(), settings)
