"""FMN, fast minimum-norm attacks (Pintor, Roli, Brendel & Biggio, NeurIPS 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Climb, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import fooled, margin
from bench.attacks.parameters import require_between, require_count
from bench.attacks.witness import or_else
from bench.core.threat import EVERY_NORM, Budget, Norm
from bench.errors import BadValue

DUAL = {Norm.LINF: 1, Norm.L2: 2, Norm.L1: torch.inf}
"""The order of the norm that measures slopes, where this one measures distances."""


@dataclass(frozen=True)
class FMN(Attack):
    """Climb the margin in a ball whose radius each example sets itself: smaller where it errs, else larger.

    It knows no radius: iterates may lie beyond the budget. Where nothing is confirmed on the way (transfers,
    portraits, curves of distances) it goes on to the smallest norm. Under L0 radii are numbers of values.
    """

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM
    needs: ClassVar[Needs] = "gradients"
    minimal: ClassVar[bool] = True

    steps: int = 100
    step_size: float = 1.0  # alpha_0: the L2 length of the first step, in pixel units; falls to a hundredth
    shrink: float = 0.05  # gamma_0: the share by which radii change at first; falls to a fiftieth of it

    def __post_init__(self) -> None:
        require_count("FMN", "steps", self.steps)
        require_between("FMN", "shrink", self.shrink, 0, 1)
        if not self.step_size > 0:
            raise BadValue(f"FMN.step_size is {self.step_size}, expected a length above 0", "step_size=1")

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]: the nearest mistakes found, projected to the budget; a gradient a step."""
        x_adv, nearest = x, x
        best, radius = x.new_full((2, len(x)), torch.inf).unbind()
        for step in range(self.steps):
            climb = oracle.climb(margin, x_adv, y)
            wrong = fooled(climb.logits.argmax(1), y)
            length = geometry.distance(x_adv, x, budget.norm)
            closer = wrong & (length < best)
            best = torch.where(closer, length, best)
            nearest = torch.where(_rows(closer | best.isinf()), x_adv, nearest)
            radius = self._radius(radius, best, length, climb, wrong, budget.norm, step)
            direction = geometry.steepest_direction(climb.gradient, Norm.L2)
            moved = torch.add(x_adv, direction, alpha=self._falling(self.step_size, 0.01, step))
            x_adv = _inside(moved, x, radius, budget.norm)
        return or_else(oracle, nearest, x, budget)

    def _radius(
        self,
        radius: Tensor,
        best: Tensor,
        length: Tensor,
        climb: Climb,
        wrong: Tensor,
        norm: Norm,
        step: int,
    ) -> Tensor:
        """Of the ball for the next iterate [n], by algorithm 1: what the margin demands, taken for linear.

        From the first mistake on a little less after each, at most the smallest norm; after misses more.
        """
        share = self._falling(self.shrink, 0.02, step)
        if norm is Norm.L0:
            return _count(radius, best, wrong, share)
        slope = torch.linalg.vector_norm(climb.gradient.flatten(1), DUAL[norm], dim=1)
        towards = length + climb.loss.abs() / slope.clamp(min=geometry.TINY)
        larger = radius * (1 + share)
        # not the margin's demand alone, or the box keeps iterates short of the boundary for ever
        missed = torch.where(best.isinf() & (radius.isinf() | (towards > larger)), towards, larger)
        return torch.where(wrong, torch.minimum(radius * (1 - share), best), missed)

    def _falling(self, first: float, last: float, step: int) -> float:
        """From `first` to the share `last` of it, along a half cosine."""
        return first * (last + (1 - last) * (1 + math.cos(math.pi * step / self.steps)) / 2)


def _count(radius: Tensor, best: Tensor, wrong: Tensor, share: float) -> Tensor:
    """How many values may change next [n]: at least one fewer after a mistake, one more after a miss."""
    radius = torch.where(radius.isinf(), 1.0, radius)
    fewer = torch.minimum(radius - 1, (radius * (1 - share)).floor())
    more = torch.maximum(radius + 1, (radius * (1 + share)).floor())
    return torch.where(wrong, torch.minimum(fewer, best), more).clamp_(min=0)


def _inside(x_adv: Tensor, x: Tensor, radius: Tensor, norm: Norm) -> Tensor:
    """The images in balls of their own radii [n] around x, then in the box."""
    if norm is Norm.L1:
        return geometry.project_l1(x_adv, x, radius)
    if norm is Norm.L0:
        return geometry.project_l0(x_adv, x, radius)
    delta, radius = x_adv - x, _rows(radius)
    if norm is Norm.LINF:
        delta = torch.maximum(torch.minimum(delta, radius), -radius)
    else:
        length = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
        delta = delta * (radius / length.clamp_(min=geometry.TINY)).clamp_(max=1)
    return (x + delta).clamp_(0, 1)


def _rows(values: Tensor) -> Tensor:
    return values[:, None, None, None]
