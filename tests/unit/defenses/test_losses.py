"""Every shared loss against values computed by hand or by other code."""

import math

import pytest
import torch
import torch.nn.functional as F

from bench.errors import BadValue
from defenses.losses import (
    angular_distance,
    attention_distance,
    attention_map,
    boosted_margin,
    divergence,
    feature_norm,
    smoothed_cross_entropy,
    smoothed_labels,
    triplet,
    weighted_divergence,
)


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)


def test_the_angular_distance_takes_the_cosine_without_its_sign():
    a, b = rows([3.0, 4.0]), rows([-4.0, 3.0])
    assert angular_distance(a, a).item() == pytest.approx(0, abs=1e-6)
    assert angular_distance(a, b).item() == pytest.approx(1, abs=1e-6)
    assert angular_distance(a, -a).item() == pytest.approx(0, abs=1e-6)
    assert angular_distance(a, rows([1.0, 0.0])).item() == pytest.approx(1 - 3 / 5, abs=1e-6)


def test_the_triplet_is_a_mean_hinge():
    a, orthogonal = rows([1.0, 0.0]), rows([0.0, 1.0])
    assert triplet(a, a, orthogonal, 0.03).item() == 0, "[m + 0 - 1]_+"
    assert triplet(a, a, a, 0.03).item() == pytest.approx(0.03)
    assert triplet(a, orthogonal, a, 0.03).item() == pytest.approx(1.03)
    both = torch.cat([a, a])
    assert triplet(both, torch.cat([a, orthogonal]), both, 0.03).item() == pytest.approx((0.03 + 1.03) / 2)


@pytest.mark.parametrize("shape", [(1, 3), (5, 640)])
def test_the_feature_norm_of_ones_is_three_whatever_the_shape(shape):
    ones = torch.ones(shape)
    assert feature_norm(ones, ones, ones).item() == pytest.approx(3)


def test_the_two_label_smoothings_differ():
    y = torch.tensor([3])
    shared, spread = smoothed_labels(y, 10, 0.5, "shared")[0], smoothed_labels(y, 10, 0.5, "spread")[0]
    assert shared[3].item() == pytest.approx(0.5) and shared[0].item() == pytest.approx(0.5 / 9)
    assert spread[3].item() == pytest.approx(0.55) and spread[0].item() == pytest.approx(0.05)
    assert shared.sum().item() == pytest.approx(1) and spread.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("convention", "labels"),
    [("shared", (0.7, 0.15, 0.15)), ("spread", (0.8, 0.1, 0.1))],  # s = 0.3 over three classes, by hand
)
def test_label_smoothing_by_hand_on_logits_that_differ(convention, labels):
    z = rows([0.0, math.log(2), math.log(3)], [0.0, 0.0, 0.0]).requires_grad_()  # p: 1/6, 1/3, 1/2; thirds
    loss = smoothed_cross_entropy(z, torch.tensor([0, 0]), 0.3, convention)
    one = labels[0] * math.log(6) + labels[1] * math.log(3) + labels[2] * math.log(2)
    assert loss.item() == pytest.approx((one + math.log(3)) / 2, abs=1e-6)
    loss.backward()  # (p - q) / B
    expected = [(p - q) / 2 for p, q in zip((1 / 6, 1 / 3, 1 / 2), labels, strict=True)]
    assert z.grad[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_labels_that_say_nothing_are_refused():
    with pytest.raises(BadValue, match=r"smoothing of 0\.5 gives every one of 2 classes.* less than 0\.5"):
        smoothed_labels(torch.tensor([0]), 2, 0.5, "shared")
    assert smoothed_labels(torch.tensor([0]), 2, 0.4, "shared")[0].tolist() == pytest.approx([0.6, 0.4])
    assert smoothed_labels(torch.tensor([0]), 2, 0.5, "spread")[0].tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(("convention", "least"), [("shared", math.log(6)), ("spread", 1.676890)])
def test_smoothed_cross_entropy_has_the_entropy_of_its_labels_as_minimum(convention, least):
    y = torch.tensor([3])
    ideal = smoothed_labels(y, 10, 0.5, convention).log()
    assert smoothed_cross_entropy(ideal, y, 0.5, convention).item() == pytest.approx(least, abs=1e-5)


def test_the_spread_convention_is_pytorchs_and_no_smoothing_is_plain():
    torch.manual_seed(0)
    z, y = torch.randn(6, 10), torch.randint(10, (6,))
    ours = smoothed_cross_entropy(z, y, 0.1, "spread")
    assert ours.item() == pytest.approx(F.cross_entropy(z, y, label_smoothing=0.1).item())
    explicit = -(smoothed_labels(y, 10, 0.1, "spread") * z.log_softmax(1)).sum(1).mean()
    assert ours.item() == pytest.approx(explicit.item(), abs=1e-6)
    assert smoothed_cross_entropy(z, y, 0, "shared").item() == pytest.approx(F.cross_entropy(z, y).item())


def test_attention_of_a_known_map_and_its_invariances():
    sums = rows([1.0, 2.0], [3.0, 5.0])
    two_channels = torch.stack([sums * 0.25, sums * 0.75])[None]
    expected = rows([0.0, 0.25], [0.5, 1.0])
    assert torch.allclose(attention_map(two_channels)[0], expected)
    assert torch.allclose(attention_map(7 * two_channels + 3)[0], expected, atol=1e-6)
    target = rows([0.0, 0.0], [0.0, 1.0])[None, None]
    assert attention_distance(two_channels, target).item() == pytest.approx(0.1875)


def test_attention_of_a_dead_map_is_zero_with_a_finite_gradient():
    dead = torch.zeros(1, 4, 2, 2, requires_grad=True)
    attention = attention_map(dead)
    assert attention.abs().sum().item() == 0
    attention.sum().backward()
    assert dead.grad.isfinite().all()


def test_the_teachers_attention_gets_no_gradient():
    student = torch.rand(1, 2, 2, 2, requires_grad=True)
    teacher = torch.rand(1, 2, 2, 2, requires_grad=True)
    attention_distance(student, teacher).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None


def test_marts_margin_part():
    sure = rows([50.0, 0.0, 0.0])
    assert boosted_margin(sure, torch.tensor([0])).item() == pytest.approx(-math.log(1.0001), abs=1e-6)
    z = rows([math.log(0.5), math.log(0.3), math.log(0.2)])
    assert boosted_margin(z, torch.tensor([0])).item() == pytest.approx(-math.log(1.0001 - 0.3), abs=1e-5)
    assert boosted_margin(z, torch.tensor([1])).item() == pytest.approx(-math.log(1.0001 - 0.5), abs=1e-5)


def test_marts_robust_part_is_zero_for_equal_outputs_and_weighted_otherwise():
    y = torch.tensor([0])
    p, q = rows([math.log(0.5), math.log(0.5)]), rows([math.log(0.8), math.log(0.2)])
    assert weighted_divergence(p, p, y).item() == pytest.approx(0, abs=1e-7)
    kl = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    assert weighted_divergence(p, q, y).item() == pytest.approx(kl * 0.5, abs=1e-5)


def test_the_divergence_has_the_direction_of_trades():
    torch.manual_seed(0)
    z, z_adv = torch.randn(4, 5), torch.randn(4, 5)
    reference = F.kl_div(z_adv.log_softmax(1), z.softmax(1), reduction="none").sum(1)
    assert torch.allclose(divergence(z, z_adv), reference, atol=1e-6)
    assert not torch.allclose(divergence(z, z_adv), divergence(z_adv, z), atol=1e-3)
