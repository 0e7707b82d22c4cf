"""Which imported images count as inside the budget: made in double precision, stored in single."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from bench.core.threat import Budget, Norm
from bench.runner.imported import beyond


def on_the_sphere(norm: Norm, eps: float, shape: tuple[int, int, int], excess: float = 0.0):
    """Images [50, ...] around 1/2 whose distance is eps (1 + excess), before they are stored as float32."""
    generator = np.random.default_rng(0)
    x = (0.5 + 0.1 * generator.random((50, *shape))).astype(np.float32)
    delta = generator.normal(size=x.shape)
    flat = np.abs(delta).reshape(50, -1)
    length = {Norm.LINF: flat.max(1), Norm.L2: np.sqrt((flat**2).sum(1)), Norm.L1: flat.sum(1)}[norm]
    moved = x + delta * (eps * (1 + excess) / length)[:, None, None, None]
    assert moved.min() > 0 and moved.max() < 1, "the box plays no part"
    return torch.from_numpy(moved.astype(np.float32)), torch.from_numpy(x)


SPHERES = [
    (Norm.LINF, "8/255", (3, 32, 32)),
    (Norm.L2, "0.5", (3, 32, 32)),
    (Norm.L2, "3", (3, 224, 224)),  # the field's radius on ImageNet
    (Norm.L1, "12", (3, 32, 32)),
    (Norm.L1, "200", (3, 64, 64)),
]


@pytest.mark.parametrize(("norm", "eps", "shape"), SPHERES, ids=[f"{n.value} {e}" for n, e, _ in SPHERES])
def test_rounding_carries_nobody_out_and_a_hundredth_more_does(norm, eps, shape):
    budget = Budget(norm, Fraction(eps))
    moved, x = on_the_sphere(norm, budget.radius, shape)
    assert not beyond(moved, x, budget).any()
    moved, x = on_the_sphere(norm, budget.radius, shape, excess=1e-2)
    assert beyond(moved, x, budget).all()


def test_values_too_many_and_pixels_outside_the_box_are_beyond():
    x = torch.full((3, 1, 2, 2), 0.5)
    asked = x.clone()
    asked[0, 0, 0, 0] = 0.9
    asked[1, 0, 0] = 0.9
    asked[2, 0, 0, 0] = 1.01
    assert beyond(asked, x, Budget(Norm.L0, Fraction(1))).tolist() == [False, True, True]
