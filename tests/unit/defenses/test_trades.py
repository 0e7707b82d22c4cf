"""TRADES: each term by hand, its gradients in closed form, its attack by what it raises."""

import math
from fractions import Fraction

import pytest
import torch

from bench.core.encoding import override
from bench.core.threat import Budget, Norm
from bench.errors import BadValue
from bench.registry import DEFENSES
from defenses.losses import divergence
from defenses.standard import Standard
from defenses.trades import Trades

HALVES, UNEQUAL = [math.log(0.5), math.log(0.5)], [math.log(0.8), math.log(0.2)]


def test_both_terms_by_hand():
    terms = Trades().terms(torch.tensor([HALVES]), torch.tensor([UNEQUAL]), torch.tensor([0]))
    kl = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"clean": math.log(2), "robust": 6 * kl}, abs=1e-6
    )
    swapped = Trades().terms(torch.tensor([UNEQUAL]), torch.tensor([HALVES]), torch.tensor([0]))
    kl = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert swapped["clean"].item() == pytest.approx(-math.log(0.8), abs=1e-6)
    assert swapped["robust"].item() == pytest.approx(6 * kl, abs=1e-6), "p(x) is the first argument"


def test_terms_are_means_over_the_batch():
    z, z_adv, y = torch.tensor([HALVES] * 3), torch.tensor([UNEQUAL, HALVES, HALVES]), torch.tensor([0, 1, 0])
    alone = Trades().terms(z[:1], z_adv[:1], y[:1])["robust"].item()
    assert Trades().terms(z, z_adv, y)["robust"].item() == pytest.approx(alone / 3)


def test_gradients_reach_both_arguments_of_the_divergence():
    torch.manual_seed(0)
    z, z_adv = (torch.randn(4, 5, requires_grad=True) for _ in range(2))
    Trades(beta=2.0).terms(z, z_adv, torch.zeros(4, dtype=torch.int64))["robust"].backward()
    p, q = z.detach().softmax(1), z_adv.detach().softmax(1)
    kl = (p * (p / q).log()).sum(1, keepdim=True)
    assert torch.allclose(z_adv.grad, 2 * (q - p) / 4, atol=1e-6)
    assert torch.allclose(z.grad, 2 * p * ((p / q).log() - kl) / 4, atol=1e-6)


def test_without_beta_it_is_natural_training_bit_for_bit(short, attacks):
    ours, natural = short(Trades(beta=0)).state_dict(), short(Standard()).state_dict()
    assert all(torch.equal(ours[key], natural[key]) for key in natural)
    assert not attacks
    assert set(Trades(beta=0).terms(torch.zeros(1, 2), None, torch.tensor([0]))) == {"clean"}


def test_the_attack_raises_the_divergence_within_the_budget(short, attacks):
    short(Trades())
    assert len(attacks) == 2
    for made in attacks:
        with torch.no_grad():
            logits = made.net(made.x)
            nearby = made.net((made.x + 0.001 * torch.randn_like(made.x)).clamp(0, 1))
            reached = divergence(logits, made.net(made.x_adv))
        assert torch.allclose(made.labels[0], logits, atol=1e-4), "the logits of eval mode"
        assert (reached > 10 * divergence(logits, nearby)).all()
        assert (made.x_adv - made.x).abs().max() <= 8 / 255 + 1e-6
        assert made.x_adv.min() >= 0 and made.x_adv.max() <= 1


def test_the_attack_starts_beside_the_image_and_not_anywhere_in_the_ball():
    class Flat:
        def climb(self, loss, x, *labels):
            self.start = x.clone()
            return type("Climb", (), {"gradient": torch.zeros_like(x)})

    oracle, x = Flat(), torch.full((4, 3, 8, 8), 0.5)
    budget = Budget(Norm.LINF, Fraction(8, 255))
    Trades(steps=1)._attack()(oracle, x, torch.zeros(4, 2), budget, torch.Generator().manual_seed(0))
    noise = oracle.start - x
    assert noise.std().item() == pytest.approx(0.001, rel=0.1) and noise.abs().max() < 0.006


def test_clean_and_adversarial_images_have_their_own_batch_statistics(short):
    state = short(Trades(steps=1), steps=3).state_dict()
    assert {state[key].item() for key in state if key.endswith("num_batches_tracked")} == {3 * 3}


def test_a_step_makes_no_pass_too_many(passes):
    assert passes(Trades(steps=3, second_forward=False)) == (1 + 3 + 2, 0, 3, 2)
    assert passes(Trades(steps=3)) == (1 + 3 + 3, 0, 3, 2)


def test_it_is_registered_with_the_published_figures():
    assert DEFENSES.get("trades") == Trades(beta=6.0, steps=10, step_size=Fraction(1, 4))


@pytest.mark.parametrize("settings", [{"steps": "0"}, {"beta": "-1"}, {"step_size": "0"}, {"beta": "much"}])
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(Trades(), settings)
