"""Balls around images, cut to the box of valid pixels: projections, random starts, steps and distances."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor

from bench.core.threat import Budget, Norm

TINY = torch.finfo(torch.float32).tiny
"""Keeps a division by a norm of zero at zero."""


def project(x_adv: Tensor, x: Tensor, budget: Budget) -> Tensor:
    """The images moved into the ball around x, then into the box [0, 1]; both are [n, C, H, W].

    Under L2 this is the field's order, ball before box: the result is in both (x is in the box, so clipping
    shortens), but where the box binds it is not the nearest such point.
    """
    return projector(x, budget)(x_adv)


def projector(x: Tensor, budget: Budget) -> Callable[[Tensor], Tensor]:
    """`project` for fixed x and budget, with what can be computed beforehand computed."""
    if budget.norm is Norm.LINF:
        low, high = (x - budget.radius).clamp_(min=0), (x + budget.radius).clamp_(max=1)
        return partial(torch.clamp, min=low, max=high)
    return partial(_project_l2, x=x, radius=budget.radius)


def random_start(x: Tensor, budget: Budget, generator: Generator) -> Tensor:
    """Images drawn uniformly from the ball around each of x [n, C, H, W], then clipped to the box.

    Noise is drawn for all n at once, so that nobody's draw depends on who else still stands.
    """
    if budget.norm is Norm.LINF:
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return noise.mul_(2).sub_(1).mul_(budget.radius).add_(x).clamp_(0, 1)
    gaussian = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    depth = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype)
    dimension = x[0].numel() if len(x) else 1
    radius = budget.radius * depth ** (1 / dimension)  # the volume within r grows as r ** dimension
    return (x + radius * steepest_direction(gaussian, Norm.L2)).clamp_(0, 1)


def steepest_step(x_adv: Tensor, gradient: Tensor, budget: Budget, step_size: float) -> Tensor:
    """A step uphill of length `step_size` times eps in the budget's norm; not projected.

    Where the gradient is zero, the image stays.
    """
    direction = steepest_direction(gradient, budget.norm)
    return torch.add(x_adv, direction, alpha=step_size * budget.radius)


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The unit step [n, C, H, W] that climbs fastest: the sign (Linf), or the gradient at length 1 (L2)."""
    if norm is Norm.LINF:
        return gradient.sign()
    largest = gradient.abs().amax((1, 2, 3), keepdim=True)
    scaled = gradient / largest.clamp_(min=TINY)  # or the squares of a faint gradient vanish in float32
    return scaled / _length(scaled).clamp_(min=TINY)


def distance(x_adv: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """How far each image is from its clean one [n], in pixel units."""
    delta = (x_adv - x).flatten(1)
    if norm is Norm.LINF:
        return delta.abs().amax(1)
    length: Tensor = torch.linalg.vector_norm(delta, dim=1)
    return length


def _project_l2(x_adv: Tensor, x: Tensor, radius: float) -> Tensor:
    delta = x_adv - x
    scale = (radius / _length(delta).clamp_(min=TINY)).clamp_(max=1)
    return (delta * scale).add_(x).clamp_(0, 1)


def _length(delta: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
    return length
