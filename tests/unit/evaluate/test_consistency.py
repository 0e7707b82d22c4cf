"""A linear network is one function with its own slope; what lies about either is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.api import Deployed
from bench.evaluate import consistency

X = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Scaled(torch.autograd.Function):
    """The same values, a multiple of the gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * gradient, None


class Around(nn.Module):
    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.change = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), change
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.change(self, x)


def deployed(change: Callable[[Around, Tensor], Tensor], **fields: object) -> Deployed:
    return Deployed(Around(change).eval(), **fields)


def honest(around: Around, x: Tensor) -> Tensor:
    return around.net(x)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.9])
def test_a_slope_within_a_factor_of_two_is_its_own(factor: float) -> None:
    assert not [*consistency.own_slope(deployed(lambda a, x: a.net(Scaled.apply(x, factor))), X)]


@pytest.mark.parametrize("factor", [-1.0, 0.4, 2.1, 1e6])
def test_the_share_that_is_told_is_the_inverse_of_the_lie(factor: float) -> None:
    (found,) = consistency.own_slope(deployed(lambda a, x: a.net(Scaled.apply(x, factor))), X)
    assert found.code == "gradients-disagree" and f"by {1 / factor:.3g} times" in found.detail


@pytest.mark.parametrize("fields", [{"randomized": True}, {"attackable": nn.Identity()}])
def test_a_slope_that_is_not_meant_to_be_its_own_is_not_measured(fields: dict[str, object]) -> None:
    lying = deployed(lambda a, x: a.net(Scaled.apply(x, -1.0)), **fields)
    assert not [*consistency.own_slope(lying, X)]


def test_zero_gradients_are_for_another_check() -> None:
    assert not [*consistency.own_slope(deployed(lambda a, x: a.net(Scaled.apply(x, 0.0))), X)]


def test_answers_may_not_depend_on_gradients() -> None:
    assert not [*consistency.whoever_asks(deployed(honest), X)]
    watching = deployed(lambda a, x: -a.net(x) if torch.is_grad_enabled() else a.net(x))
    (found,) = consistency.whoever_asks(watching, X)
    assert (found.code, found.severity) == ("answers-depend-on-gradients", "block")


def test_answers_may_not_depend_on_what_was_asked() -> None:
    assert not [*consistency.whatever_was_asked(deployed(honest), deployed(honest), X)]
    tired, fresh = (deployed(lambda a, x: a.net(x if a.calls <= 5 else 1 - x)) for _ in range(2))
    for _ in range(5):
        tired.predict(X)
    (found,) = consistency.whatever_was_asked(tired, fresh, X)
    assert (found.code, found.severity) == ("answers-depend-on-history", "block")


def test_nearby_images_are_images_and_near() -> None:
    moved = consistency.nearby(X)
    assert torch.equal(moved, consistency.nearby(X)) and not torch.equal(moved, consistency.nearby(X, 1))
    assert 0 < (moved - X).abs().max() <= consistency.NEARBY and 0 <= moved.min() <= moved.max() <= 1
