"""IKL: the authors' own numbers, the theorem behind them, and class means that are those of an epoch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.core.encoding import override
from bench.errors import BadValue
from bench.plan import parse_defense
from defenses.ikl_at import IklAt, WithClassMeans, weighted_spread

Y = torch.tensor([0, 1, 2, 3, 1])


def test_loss_and_gradients_are_those_of_the_released_code(waves):
    adv, clean = (waves(5, 4, phase=phase).requires_grad_() for phase in (0.1, 1.3))
    total = sum(IklAt().terms(clean, adv, Y, waves(4, 4, phase=0.5).softmax(1)).values())
    total.backward()
    assert total.item() == pytest.approx(20.0627918243, rel=1e-6)  # CE and dkl_loss of train_dkl_cifar10.py
    assert [clean.grad.norm().item(), adv.grad.norm().item()] == pytest.approx(
        [4.5842189789, 5.5259900093], rel=1e-5
    )
    first = [1.0601296425, 1.1064352989, -1.0985981226, -1.0679668188]
    assert clean.grad[0].tolist() == pytest.approx(first, rel=1e-4)


def test_class_means_are_those_of_the_released_code(waves):
    net = WithClassMeans(nn.Identity(), 4)
    net.collect(waves(5, 4, phase=1.3) / 4, Y)
    assert torch.equal(net.means, torch.full((4, 4), 0.25)), "uniform in the first epoch"
    net.enter(1)
    assert net.means[0].tolist() == pytest.approx([0.3047229350, 0.2965668440, 0.2330641896, 0.1656460613])
    assert net.means[1].tolist() == pytest.approx([0.2011083066, 0.2257480770, 0.2675077319, 0.3056358993])
    assert not net.sums.any()


def test_a_class_without_images_keeps_its_means_and_an_epoch_is_entered_once():
    net = WithClassMeans(nn.Identity(), 3)
    net.collect(torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]), torch.tensor([0, 0]))
    net.enter(0)
    assert net.sums.sum() == 2, "the epoch goes on"
    net.enter(1)
    assert net.means[0].tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert net.means[1].tolist() == pytest.approx([1 / 3] * 3)
    held = net.means.clone()
    net.enter(1)
    assert torch.equal(net.means, held)


def test_with_sample_weights_and_no_symmetry_the_gradient_is_that_of_the_kl_divergence(waves):
    """Theorem 1 of the paper, alpha = beta = 1: against torch's own KL."""
    plain = IklAt(alpha=1.0, beta=1.0, weights="sample", symmetric=False)
    adv, clean = (waves(5, 4, phase=phase).double().requires_grad_() for phase in (0.1, 1.3))
    terms = plain.terms(clean, adv, Y, torch.empty(0))
    (terms["spread"] + terms["robust"]).backward()
    other, same = (part.detach().clone().requires_grad_() for part in (adv, clean))
    F.kl_div(other.log_softmax(1), same.softmax(1), reduction="batchmean").backward()
    assert torch.allclose(adv.grad, other.grad, atol=1e-6)
    assert torch.allclose(clean.grad, same.grad, atol=1e-6)


def test_the_spread_is_the_sum_over_pairs_of_classes(waves):
    moved, weights = waves(5, 4, phase=0.4), waves(5, 4, phase=0.9).softmax(1)
    pairs = (moved[:, :, None] - moved[:, None, :]).square() * weights[:, :, None] * weights[:, None, :]
    assert weighted_spread(moved, weights).item() == pytest.approx(0.25 * pairs.sum().item() / 5, rel=1e-5)


@pytest.mark.parametrize("name", ["ikl_at[steps=1]", "awp[base=ikl_at[steps=1],gamma=0.005]"])
def test_every_image_is_collected_once_also_where_weights_are_attacked(short, name):
    net = short(parse_defense(name, {}).defense, steps=3)
    assert net.sums.sum().item() == pytest.approx(3 * 8, rel=1e-5)
    assert int(net.epoch) == 0


@pytest.mark.parametrize("settings", [{"alpha": "-1"}, {"beta": "-1"}, {"t": "0"}, {"weights": "all"}])
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(IklAt(), settings)
