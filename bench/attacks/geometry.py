"""Balls around images, cut to the box of valid pixels: projections, random starts, steps and distances."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor

from bench.core.threat import Budget, Norm
from bench.errors import BadValue

TINY = torch.finfo(torch.float32).tiny
"""Keeps a division by a norm of zero at zero."""

SPARSITY = 0.01
"""The share of an image's values that a steepest step under L1 moves, as in SLIDE (Tramer & Boneh, 2019)."""

REACH = 16.0
"""Of a steepest step under L0: well beyond the box, so that values are kept for what they gain inside it.

Of 1, 2, 4, 8 and 16 it made PGD strongest: short steps favour what has changed already.
"""


def project(x_adv: Tensor, x: Tensor, budget: Budget) -> Tensor:
    """The images moved into the ball around x, then into the box [0, 1]; both are [n, C, H, W].

    Under L2 this is the field's order, ball before box: the result is in both (x is in the box, so clipping
    shortens), but where the box binds it is not the nearest such point. Under Linf, L1 and L0 it is.
    """
    return projector(x, budget)(x_adv)


def projector(x: Tensor, budget: Budget) -> Callable[[Tensor], Tensor]:
    """`project` for fixed x and budget, with what can be computed beforehand computed."""
    if budget.norm is Norm.LINF:
        low, high = (x - budget.radius).clamp_(min=0), (x + budget.radius).clamp_(max=1)
        return partial(torch.clamp, min=low, max=high)
    if budget.norm is Norm.L2:
        return partial(_project_l2, x=x, radius=budget.radius)
    if budget.norm is Norm.L1:
        return partial(project_l1, x=x, radius=budget.radius)
    return partial(project_l0, x=x, values=int(budget.eps))


def random_start(x: Tensor, budget: Budget, generator: Generator) -> Tensor:
    """Images drawn uniformly from the ball around each of x [n, C, H, W], then clipped to the box."""
    return unclipped_start(x, budget, generator).clamp_(0, 1)


def unclipped_start(x: Tensor, budget: Budget, generator: Generator) -> Tensor:
    """The same before they are clipped: pixels may be outside of [0, 1] by as much as the budget allows.

    Under L0: as many values as may change, chosen at random, each anything from 0 to 1.
    Noise is drawn for all n at once, so that nobody's draw depends on who else still stands.
    """
    if budget.norm is Norm.LINF:
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return noise.mul_(2).sub_(1).mul_(budget.radius).add_(x)
    if budget.norm is Norm.L1:
        return x + _in_l1_ball(x, generator) * budget.radius
    if budget.norm is Norm.L0:
        order, values = torch.rand((2, *x.shape), generator=generator, device=x.device, dtype=x.dtype)
        return torch.where(_largest(order, int(budget.eps)), values, x)
    gaussian = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    depth = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype)
    dimension = x[0].numel() if len(x) else 1
    radius = budget.radius * depth ** (1 / dimension)  # the volume within r grows as r ** dimension
    return x + radius * steepest_direction(gaussian, Norm.L2)


def steepest_step(x_adv: Tensor, gradient: Tensor, budget: Budget, step_size: float) -> Tensor:
    """A step uphill of length `step_size` times eps in the budget's norm; not projected.

    Where the gradient is zero, the image stays. Under L1 the step is sparse, as in SLIDE: it goes to the
    values of steepest slope that the box lets move, none of them by more than its room or than the length
    over the share `SPARSITY` of all. Under L0, whose eps is no length, all values move along the gradient,
    so far that the eps-th steepest moves by `REACH` times `step_size`: the projection chooses what is kept.
    """
    if budget.norm is Norm.L1:
        return _sparse_step(x_adv, gradient, step_size * budget.radius)
    if budget.norm is Norm.L0:
        return torch.add(x_adv, gradient / _slope_at(gradient, int(budget.eps)), alpha=REACH * step_size)
    direction = steepest_direction(gradient, budget.norm)
    return torch.add(x_adv, direction, alpha=step_size * budget.radius)


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The unit step [n, C, H, W] that climbs fastest: the sign (Linf), or the gradient at length 1 (L2).

    Raises:
        BadValue: under L1 and L0 it would move single values; `steepest_step` does better.
    """
    if norm is Norm.LINF:
        return gradient.sign()
    if norm is not Norm.L2:
        raise BadValue(f"a steepest direction is known under Linf and L2, but the norm is {norm.value}")
    largest = gradient.abs().amax((1, 2, 3), keepdim=True)
    scaled = gradient / largest.clamp_(min=TINY)  # or the squares of a faint gradient vanish in float32
    return scaled / _length(scaled).clamp_(min=TINY)


def distance(x_adv: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """How far each image is from its clean one [n], in pixel units; under L0 how many values differ."""
    delta = (x_adv - x).flatten(1)
    if norm is Norm.LINF:
        return delta.abs().amax(1)
    if norm is Norm.L1:
        return delta.abs().sum(1)
    if norm is Norm.L0:
        return (delta != 0).sum(1).to(delta.dtype)
    length: Tensor = torch.linalg.vector_norm(delta, dim=1)
    return length


def project_l1(x_adv: Tensor, x: Tensor, radius: Tensor | float) -> Tensor:
    """The nearest images in the L1 balls of these radii (one, or [n]) around x and in the box.

    Every change is shortened by the same amount t, then cut to what the box leaves it (Croce & Hein, Mind the
    box, ICML 2021). What remains in sum falls with t along lines whose ends are known: sorted, they give t.
    In double precision, because thousands of terms are added.
    """
    delta = (x_adv - x).flatten(1).double()
    size, room = delta.abs(), torch.where(delta > 0, 1 - x.flatten(1), x.flatten(1)).double()
    radius = _for_each(radius, size).to(size.dtype)
    ends, order = torch.cat([size, size - room], dim=1).sort(dim=1, descending=True)
    steeper = torch.where(order < size.shape[1], 1.0, -1.0).to(size.dtype).cumsum(1)  # below each end
    remains = torch.nn.functional.pad((steeper[:, :-1] * -ends.diff(dim=1)).cumsum(1), (1, 0))
    # the last end at which no more remains than the radius; from there on down the line
    place = (remains <= radius).sum(1, keepdim=True) - 1
    slope = steeper.gather(1, place)
    gap = radius - remains.gather(1, place)
    t = ends.gather(1, place) - torch.where(slope > 0, gap / slope.clamp(min=1), torch.inf)
    kept = torch.minimum((size - t.clamp_(min=0)).clamp_(min=0), room) * delta.sign()
    return (x + kept.to(x.dtype).view_as(x)).clamp_(0, 1)


def project_l0(x_adv: Tensor, x: Tensor, values: Tensor | int) -> Tensor:
    """The nearest images in the box that differ from x in so many values (one number, or [n]).

    Those are kept whose change to the box brings the image nearest to what was asked for.
    """
    inside = x_adv.clamp(0, 1)
    gain = (x - x_adv).square_().sub_((inside - x_adv).square_())
    return torch.where(_largest(gain, values) & (gain > 0), inside, x)


def _project_l2(x_adv: Tensor, x: Tensor, radius: float) -> Tensor:
    delta = x_adv - x
    scale = (radius / _length(delta).clamp_(min=TINY)).clamp_(max=1)
    return (delta * scale).add_(x).clamp_(0, 1)


def _length(delta: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
    return length


def _sparse_step(x_adv: Tensor, gradient: Tensor, length: float) -> Tensor:
    slope, at = gradient.flatten(1), x_adv.flatten(1)
    room = torch.where(slope > 0, 1 - at, at).clamp_(min=0).mul_(slope != 0)
    share = max(round(SPARSITY * slope.shape[1]), 1)
    room.clamp_(max=length / share)
    order = slope.abs().masked_fill(room == 0, 0).argsort(dim=1, descending=True, stable=True)
    most = room.gather(1, order)
    move = torch.minimum(most, (length - (most.cumsum(1) - most)).clamp_(min=0))
    step = torch.zeros_like(slope).scatter_(1, order, move).mul_(slope.sign())
    return x_adv + step.view_as(x_adv)


def _slope_at(gradient: Tensor, place: int) -> Tensor:
    """The absolute slope [n, 1, 1, 1] of the value that comes at this place, steepest first; never zero."""
    size = gradient.abs().flatten(1)
    slope = size.topk(min(max(place, 1), size.shape[1]), dim=1).values
    # fewer slopes than places: the least of those that there are
    least = slope.masked_fill(slope == 0, torch.inf).amin(1)
    return torch.where(least.isinf(), 1.0, least)[:, None, None, None]


def _largest(gain: Tensor, count: Tensor | int) -> Tensor:
    """Where the largest `count` (one number, or [n]) of each image's values are; of equals, the first."""
    flat = gain.flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(flat.shape[1], device=flat.device).expand_as(order)
    most = _for_each(count, place)
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, place < most).view_as(gain)


def _for_each(value: Tensor | float, like: Tensor) -> Tensor:
    """One number, or one for each of n, as a column [n, 1]; a number is no copy that a GPU would wait for."""
    if isinstance(value, Tensor):
        return value.to(like.device).expand(len(like))[:, None]
    return like.new_full((len(like), 1), value)


def _in_l1_ball(x: Tensor, generator: Generator) -> Tensor:
    """Uniform in the unit ball: the coordinates of exponential draws over their sum, with one more draw."""
    uniform, coin = torch.rand((2, *x.shape), generator=generator, device=x.device, dtype=x.dtype)
    one_more = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype)
    draws, more = -torch.log1p(-uniform), -torch.log1p(-one_more)
    signs: Tensor = 2 * (coin < 0.5).to(x.dtype) - 1
    return signs * (draws / (draws.sum((1, 2, 3), keepdim=True) + more))
