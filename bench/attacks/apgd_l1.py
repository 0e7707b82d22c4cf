"""Auto-PGD under L1, whose steps adapt how sparse they are (Croce & Hein, Mind the box, ICML 2021)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bench.api import Loss, Oracle
from bench.attacks.geometry import distance, project_l1
from bench.attacks.witness import or_else
from bench.core.threat import Budget, Norm

STAGES = ((3, 0.3), (2, 0.3), (1, 0.4))
"""Radii, of eps, and their share of the steps: larger balls first, as in section 4 of the paper."""

SPARSER = 1.5
"""A step moves this many times fewer values than the best image so far has changed."""

FIRST_SHARE = 0.2  # of the values that a step moves, where nothing has changed yet
PERIOD = 0.04  # of a stage's steps: how often sparsity and step size are reconsidered
SETTLED = 0.95  # a step size falls once the best image keeps so much of its changed values
SMALLEST = 0.1  # of the radius: no step is shorter


def start_l1(x: Tensor, budget: Budget, generator: Generator) -> Tensor:
    """Gaussian noise around x [n, C, H, W], projected to the first ball and to the box."""
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return project_l1(x + noise, x, STAGES[0][0] * budget.radius)


def ascend_l1(
    oracle: Oracle,
    loss: Loss,
    labels: tuple[Tensor, ...],
    start: Tensor,
    x: Tensor,
    budget: Budget,
    steps: int,
) -> Tensor:
    """The image [n, C, H, W] of highest loss in the budget, or what broke its example on the way.

    Costs `steps` gradients and one more query for the last iterate.
    """
    x_best, spent = start, 0
    for number, (factor, share) in enumerate(STAGES):
        last = number == len(STAGES) - 1
        count = steps - spent if last else int(share * steps)
        radius = factor * budget.radius
        begin = project_l1(x_best, x, radius)
        x_best, best, x_adv = _stage(oracle, loss, labels, begin, x, radius, count)
        spent += count
    reached = loss(oracle.logits(x_adv), *labels)
    return or_else(oracle, torch.where(_rows(reached > best), x_adv, x_best), x, budget)


def _stage(
    oracle: Oracle,
    loss: Loss,
    labels: tuple[Tensor, ...],
    start: Tensor,
    x: Tensor,
    radius: float,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The image of highest loss seen in one ball, that loss [n], and the last iterate, not asked about."""
    values = x[0].numel()
    changed = distance(start, x, Norm.L0)
    share = torch.where(changed > 0, changed / (SPARSER * values), FIRST_SHARE)
    step_size = torch.full_like(changed, radius)
    x_adv, x_best, best_gradient = start, start, torch.zeros_like(x)
    best = torch.full_like(changed, -torch.inf)
    period = max(int(PERIOD * steps), 1)
    for step in range(steps):
        climb = oracle.climb(loss, x_adv, *labels)
        gradient, better = climb.gradient, climb.loss > best
        best = torch.where(better, climb.loss, best)
        x_best = torch.where(_rows(better), x_adv, x_best)
        best_gradient = torch.where(_rows(better), gradient, best_gradient)
        if step and step % period == 0:
            now = distance(x_best, x, Norm.L0)
            falls = now < SETTLED * changed
            share, changed = now / (SPARSER * values), now
            step_size = torch.where(falls, radius, (step_size / SPARSER).clamp(min=SMALLEST * radius))
            x_adv = torch.where(_rows(falls), x_best, x_adv)
            gradient = torch.where(_rows(falls), best_gradient, gradient)
        direction = _steepest(gradient, share)
        x_adv = project_l1(torch.addcmul(x_adv, _rows(step_size), direction), x, radius)
    return x_best, best, x_adv


def _steepest(gradient: Tensor, share: Tensor) -> Tensor:
    """The signs at the steepest share [n] of the values, together of length 1."""
    size = gradient.abs().flatten(1)
    values = size.shape[1]
    place = ((1 - share) * values).long().clamp(0, values - 1)
    least = size.sort(dim=1).values.gather(1, place[:, None])
    signs = (gradient.flatten(1).sign() * (size >= least)).view_as(gradient)
    return signs / signs.abs().sum((1, 2, 3), keepdim=True).clamp_(min=1)


def _rows(values: Tensor) -> Tensor:
    return values[:, None, None, None]
