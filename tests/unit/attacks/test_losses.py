"""Losses against hand-computed values, finite differences and their own invariances."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks import losses

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 3.0, 1.0, 2.0]])
Y = torch.tensor([0, 3])
TARGET = torch.tensor([2, 0])


def test_cross_entropy_by_hand() -> None:
    first = -2 + math.log(math.e**2 + math.e + 1 + math.e**-1)
    second = -2 + math.log(1 + math.e**3 + math.e + math.e**2)
    assert losses.cross_entropy(LOGITS, Y).tolist() == pytest.approx([first, second], rel=1e-6)


def test_margin_by_hand() -> None:
    assert losses.margin(LOGITS, Y).tolist() == [-1.0, 1.0]


def test_probability_margin_by_hand() -> None:
    total = math.e**2 + math.e + 1 + math.e**-1
    other = 1 + math.e**3 + math.e + math.e**2
    expected = [(math.e - math.e**2) / total, (math.e**3 - math.e**2) / other]
    assert losses.probability_margin(LOGITS, Y).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_lead_of_all_is_the_logit_of_being_wrong() -> None:
    shares = LOGITS.double().softmax(1)[torch.arange(len(Y)), Y]
    assert losses.lead_of_all(LOGITS, Y).tolist() == pytest.approx(torch.logit(1 - shares).tolist(), rel=1e-5)
    sure = torch.tensor([[40.0, 0.0, 1.0]])
    exact = math.log1p(math.exp(-40) + math.exp(-39))
    assert losses.cross_entropy(sure, torch.tensor([0])).item() == 0.0
    lead = losses.lead_of_all(sure, torch.tensor([0]))
    assert torch.nn.functional.softplus(lead).item() == pytest.approx(exact, rel=1e-5)


def test_dlr_by_hand() -> None:
    # row 0: -(2 - 1) / (2 - 0); row 1: -(2 - 3) / (3 - 1)
    assert losses.dlr(LOGITS, Y).tolist() == pytest.approx([-0.5, 0.5])


def test_targeted_losses_by_hand() -> None:
    assert losses.targeted_margin(LOGITS, Y, TARGET).tolist() == [-2.0, -2.0]
    # row 0: -(2 - 0) / (2 - (0 - 1) / 2); row 1: -(2 - 0) / (3 - (1 + 0) / 2)
    assert losses.targeted_dlr(LOGITS, Y, TARGET).tolist() == pytest.approx([-2 / 2.5, -2 / 2.5])
    total = math.log(math.e**2 + math.e + 1 + math.e**-1)
    assert losses.targeted_cross_entropy(LOGITS, Y, TARGET)[0].item() == pytest.approx(0 - total, rel=1e-6)


def test_few_classes_degrade_as_documented() -> None:
    two, y2, t2 = torch.tensor([[1.0, -2.0]]), torch.tensor([0]), torch.tensor([1])
    assert losses.dlr(two, y2).item() == -3.0
    assert losses.targeted_dlr(two, y2, t2).item() == -3.0
    three = torch.tensor([[4.0, 1.0, 2.0]])
    assert losses.dlr(three, y2).item() == pytest.approx(-2 / 3)
    assert losses.targeted_dlr(three, y2, t2).item() == pytest.approx(-3 / 3)


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_gradients_agree_with_finite_differences(name: str) -> None:
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: losses.LOSSES[name](z, Y), (logits,))


@pytest.mark.parametrize("name", sorted(losses.TARGETED_LOSSES))
def test_targeted_gradients_agree_with_finite_differences(name: str) -> None:
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: losses.TARGETED_LOSSES[name](z, Y, TARGET), (logits,))


def test_a_confident_network_still_has_a_gradient_of_the_probability_margin() -> None:
    # p_y rounds to 1 in float32; with one rival the gradient is 2 q (1 - q) for q = exp(-40)
    logits = torch.tensor([[40.0, 0.0]], requires_grad=True)
    losses.probability_margin(logits, torch.tensor([0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([-2 * math.exp(-40), 2 * math.exp(-40)], rel=1e-4)


@given(st.integers(2, 8), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_ratios_ignore_shift_and_scale_and_all_margins_agree_on_the_verdict(k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, k, generator=generator, dtype=torch.float64)
    y = torch.randint(0, k, (6,), generator=generator)
    if k >= 3:
        torch.testing.assert_close(losses.dlr(5 * logits + 7, y), losses.dlr(logits, y))
    wrong = logits.argmax(1) != y
    for loss in (losses.margin, losses.dlr, losses.probability_margin):
        assert torch.equal(loss(logits, y) > 0, wrong)


@given(st.integers(2, 8), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_most_confusing_ranks_the_wrong_classes(k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, k, generator=generator)
    y = torch.randint(0, k, (6,), generator=generator)
    ranks = [losses.most_confusing(logits, y, rank) for rank in range(1, k)]
    for i in range(6):
        expected = sorted((c for c in range(k) if c != y[i]), key=lambda c: -logits[i, c].item())
        assert [rank[i].item() for rank in ranks] == expected


def test_a_refusal_is_no_success() -> None:
    assert losses.fooled(torch.tensor([1, 0, -1]), torch.tensor([0, 0, 0])).tolist() == [True, False, False]
