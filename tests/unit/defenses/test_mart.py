"""MART: each term by hand, where its gradients go, and what its attack starts from."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from bench.core.encoding import override
from bench.errors import BadValue
from bench.registry import DEFENSES
from defenses.mart import Mart

CLEAN, ADVERSARIAL = [math.log(p) for p in (0.5, 0.25, 0.25)], [math.log(p) for p in (0.2, 0.5, 0.3)]


def values(terms):
    return {name: term.item() for name, term in terms.items()}


def test_every_term_by_hand():
    terms = Mart().terms(torch.tensor([CLEAN]), torch.tensor([ADVERSARIAL]), torch.tensor([0]))
    kl = 0.5 * math.log(0.5 / 0.2) + 0.25 * math.log(0.25 / 0.5) + 0.25 * math.log(0.25 / 0.3)
    assert values(terms) == pytest.approx(
        {"adversarial": -math.log(0.2), "margin": -math.log(1.0001 - 0.5), "robust": 5 * kl * 0.5}, abs=1e-5
    )


def test_the_margin_takes_the_likeliest_wrong_class_and_never_the_true_one():
    terms = Mart().terms(None, torch.tensor([ADVERSARIAL]), torch.tensor([1]))
    assert values(terms) == pytest.approx(
        {"adversarial": -math.log(0.5), "margin": -math.log(1.0001 - 0.3)}, abs=1e-5
    )


def test_a_sure_and_unmoved_answer_costs_a_negative_trifle():
    sure = torch.tensor([[60.0, 0.0, 0.0]])
    terms = values(Mart().terms(sure, sure, torch.tensor([0])))
    assert terms["adversarial"] == pytest.approx(0, abs=1e-6) and terms["robust"] == pytest.approx(
        0, abs=1e-6
    )
    assert terms["margin"] == pytest.approx(-math.log(1.0001), abs=1e-6) and terms["margin"] < 0


def test_a_misclassified_example_weighs_more():
    z, z_adv = torch.tensor([CLEAN]), torch.tensor([ADVERSARIAL])
    right, wrong = (values(Mart().terms(z, z_adv, torch.tensor([y])))["robust"] for y in (0, 1))
    assert wrong / right == pytest.approx((1 - 0.25) / (1 - 0.5), rel=1e-5)


def test_gradients_reach_the_clean_branch_and_its_weight():
    torch.manual_seed(0)
    z, z_adv = (torch.randn(4, 5, requires_grad=True) for _ in range(2))
    y = torch.tensor([0, 1, 2, 3])
    terms = Mart(lam=2.0).terms(z, z_adv, y)
    terms["robust"].backward()
    p, q = z.detach().softmax(1), z_adv.detach().softmax(1)
    kl = (p * (p / q).log()).sum(1, keepdim=True)
    true = F.one_hot(y, 5)
    p_true = (p * true).sum(1, keepdim=True)
    through_kl = (1 - p_true) * p * ((p / q).log() - kl)
    through_weight = -kl * p_true * (true - p)
    assert torch.allclose(z.grad, 2 * (through_kl + through_weight) / 4, atol=1e-6)
    assert torch.allclose(z_adv.grad, 2 * (1 - p_true) * (q - p) / 4, atol=1e-6)


def test_the_attack_raises_the_cross_entropy_within_the_budget(short, attacks):
    short(Mart())
    assert len(attacks) == 2
    for made in attacks:
        (y,) = made.labels
        with torch.no_grad():
            before, after = (F.cross_entropy(made.net(x), y) for x in (made.x, made.x_adv))
        assert after > before
        assert made.attack.start == "gaussian"
        assert (made.x_adv - made.x).abs().max() <= 8 / 255 + 1e-6
        assert made.x_adv.min() >= 0 and made.x_adv.max() <= 1


def test_clean_and_adversarial_images_have_their_own_batch_statistics(short):
    for lam, forwards in ((5.0, 2), (0.0, 1)):
        state = short(Mart(lam=lam, steps=1), steps=3).state_dict()
        assert {state[key].item() for key in state if key.endswith("num_batches_tracked")} == {forwards * 3}


def test_a_step_makes_no_pass_too_many(passes):
    assert passes(Mart(steps=3)) == (3 + 2, 0, 3, 2)
    assert passes(Mart(steps=3, lam=0)) == (3 + 1, 0, 3, 1)


def test_it_is_registered_with_the_published_figures():
    assert DEFENSES.get("mart") == Mart(lam=5.0, steps=10, step_size=Fraction(1, 4))


@pytest.mark.parametrize("settings", [{"steps": "0"}, {"lam": "-1"}, {"step_size": "0"}])
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Mart(), settings)
