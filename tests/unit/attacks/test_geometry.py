"""Projections, starts and steps: inside ball and box, and equal to what was computed by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks.geometry import distance, project, projector, random_start, steepest_step
from bench.core.threat import Budget, Norm

NORMS = st.sampled_from([Norm.LINF, Norm.L2, Norm.L1])
RADII = [Fraction(0), Fraction(8, 255), Fraction("0.3"), Fraction(2), Fraction(100)]
BUDGETS = st.builds(Budget, NORMS, st.sampled_from(RADII)) | st.builds(
    Budget, st.just(Norm.L0), st.integers(0, 30).map(Fraction)
)


def _images(seed: int, n: int = 5) -> torch.Tensor:
    x = torch.rand(n, 2, 4, 3, generator=torch.Generator().manual_seed(seed))
    return torch.where(x < 0.2, 0, x)  # some pixels at the edge of the box


def _assert_allowed(x_adv: torch.Tensor, x: torch.Tensor, budget: Budget) -> None:
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert (distance(x_adv, x, budget.norm) <= budget.radius + 1e-6).all()


@given(BUDGETS, st.integers(0, 1000), st.floats(0, 50))
@settings(max_examples=100, deadline=None)
def test_projection_lands_inside_and_stays(budget: Budget, seed: int, spread: float) -> None:
    x = _images(seed)
    far = x + spread * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    once = project(far, x, budget)
    _assert_allowed(once, x, budget)
    torch.testing.assert_close(project(once, x, budget), once, rtol=0, atol=1e-6)
    assert torch.equal(projector(x, budget)(far), once)
    if budget.eps == 0:
        assert torch.equal(once, x)


@given(BUDGETS, st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_what_is_allowed_does_not_move(budget: Budget, seed: int) -> None:
    x = _images(seed)
    assert torch.equal(project(x, x, budget), x)
    inside = 0.5 * x + 0.25  # in the box; in the ball wherever that is large enough
    if (distance(inside, x, budget.norm) < budget.radius).all():
        torch.testing.assert_close(project(inside, x, budget), inside, rtol=0, atol=1e-6)


def test_linf_projection_is_the_nearest_point() -> None:
    x = torch.tensor([0.5, 0.05, 0.95, 0.5]).reshape(1, 1, 2, 2)
    far = torch.tensor([0.9, -1.0, 2.0, 0.45]).reshape(1, 1, 2, 2)
    got = project(far, x, Budget(Norm.LINF, Fraction("0.1"))).flatten().tolist()
    assert got == pytest.approx([0.6, 0.0, 1.0, 0.45])


def test_l2_projection_scales_then_clips() -> None:
    x = torch.tensor([0.5, 0.9]).reshape(1, 1, 1, 2)
    far = x + torch.tensor([3.0, 4.0]).reshape(1, 1, 1, 2)
    got = project(far, x, Budget(Norm.L2, Fraction("0.5"))).flatten().tolist()
    assert got == pytest.approx([0.8, 1.0])  # 0.5 + 0.5 * 3/5, and 0.9 + 0.4 clipped


@given(BUDGETS, st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_random_starts_are_allowed_and_repeatable(budget: Budget, seed: int) -> None:
    x = _images(seed)
    starts = [random_start(x, budget, torch.Generator().manual_seed(seed)) for _ in range(2)]
    _assert_allowed(starts[0], x, budget)
    assert torch.equal(starts[0], starts[1])
    if budget.eps == 0:
        assert torch.equal(starts[0], x)


def test_random_starts_fill_the_ball_uniformly() -> None:
    x = torch.full((20_000, 1, 1, 2), 0.5)
    generator = torch.Generator().manual_seed(0)
    linf = random_start(x, Budget(Norm.LINF, Fraction("0.2")), generator) - x
    assert linf.mean().item() == pytest.approx(0, abs=0.003)
    assert linf.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.02)
    assert linf.abs().max() > 0.199
    l2 = random_start(x, Budget(Norm.L2, Fraction("0.2")), generator) - x
    radii = l2.flatten(1).norm(dim=1)
    # in a disc half of the area lies within r / sqrt(2), a quarter within r / 2
    assert (radii < 0.2 / math.sqrt(2)).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (radii < 0.1).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert (l2[..., 0] > 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_steps_by_hand() -> None:
    x = torch.full((1, 1, 1, 2), 0.5)
    gradient = torch.tensor([3e-9, -4e-9]).reshape(1, 1, 1, 2)
    linf = steepest_step(x, gradient, Budget(Norm.LINF, Fraction("0.2")), 0.5)
    assert linf.flatten().tolist() == pytest.approx([0.6, 0.4])
    l2 = steepest_step(x, gradient, Budget(Norm.L2, Fraction("0.2")), 0.5)
    assert l2.flatten().tolist() == pytest.approx([0.56, 0.42])


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_a_faint_gradient_gives_a_whole_step_and_none_gives_none(norm: Norm) -> None:
    x = torch.full((2, 1, 1, 2), 0.5)
    gradient = torch.zeros_like(x)
    gradient[0, 0, 0, 0] = 1e-30  # its square is zero in float32
    got = steepest_step(x, gradient, Budget(norm, Fraction("0.2")), 1.0)
    assert got[0].flatten().tolist() == pytest.approx([0.7, 0.5])
    assert torch.equal(got[1], x[1])


def test_distance_by_hand() -> None:
    x = torch.zeros(1, 1, 1, 2)
    moved = torch.tensor([0.3, -0.4]).reshape(1, 1, 1, 2)
    assert distance(moved, x, Norm.L2).item() == pytest.approx(0.5)
    assert distance(moved, x, Norm.LINF).item() == pytest.approx(0.4)
