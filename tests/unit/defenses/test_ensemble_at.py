"""Ensemble adversarial training: the mix, whose gradients they are, and networks of other architectures."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from bench.attacks.losses import cross_entropy
from bench.core.encoding import override
from bench.errors import BadValue
from bench.plan import Request, plan_training
from defenses.ensemble_at import EnsembleAt, of_its_answer


def test_both_halves_count_alike():
    clean, adv = torch.tensor([[math.log(0.8), math.log(0.2)]]), torch.tensor([[0.0, 0.0]])
    terms = EnsembleAt().terms(clean, adv, torch.tensor([0]))
    assert terms["clean"].item() == pytest.approx(-0.5 * math.log(0.8))
    assert terms["adversarial"].item() == pytest.approx(0.5 * math.log(2))


def test_what_climbs_is_the_networks_own_answer():
    logits = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    answers = torch.tensor([0, 1])
    wrong = torch.tensor([1, 0])
    assert torch.equal(of_its_answer(logits, wrong), cross_entropy(logits, answers))


def test_every_network_is_drawn_and_the_members_stay_as_they_were(short, fresh, attacks):
    members = {f"member_{place}": copy.deepcopy(fresh) for place in range(3)}
    held = copy.deepcopy(fresh.state_dict())
    short(EnsembleAt(), steps=24, **members)
    fixed = [all(torch.equal(made.net.state_dict()[key], held[key]) for key in held) for made in attacks]
    assert 10 <= sum(fixed) <= 23, "three of four, by lot"
    for member in members.values():
        assert all(torch.equal(value, held[key]) for key, value in member.state_dict().items())
    made = attacks[0]
    x = made.x.clone().requires_grad_()
    logits = made.net(x)
    F.cross_entropy(logits, logits.argmax(1), reduction="sum").backward()
    alone = (made.x + 8 / 255 * x.grad.sign()).clamp(0, 1)
    assert (alone - made.x_adv).abs().max() < 1e-6, "one step of the sign, from the image itself"


def test_members_have_architectures_of_their_own():
    spec = plan_training(Request("ensemble_at"))
    found = {role: (parent.named.label, parent.architecture) for role, parent in spec.parents}
    assert found == {
        "member_0": ("standard", "small_cnn"),
        "member_1": ("standard", "lenet"),
        "member_2": ("standard", "wide_resnet_10_1"),
    }
    assert {"bench.nn.lenet", "bench.nn.wide_resnet"} <= set(spec.modules)
    other = {"defense": {"members": "trades[beta=3]@lenet"}}
    ((_, parent),) = plan_training(Request("ensemble_at", settings=other)).parents
    assert (parent.named.label, parent.architecture) == ("trades[beta=3.0]", "lenet")


@pytest.mark.parametrize("settings", [{"members": ""}, {"members": "standard,standard"}, {"step_size": "-1"}])
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(EnsembleAt(), settings)
