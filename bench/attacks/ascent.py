"""Projected steepest ascent of any loss from any start: what the inner attacks of defenses have in common."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from bench.api import Attack, Loss, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import cross_entropy
from bench.attacks.parameters import require_count, require_fraction_of_eps, require_one_of
from bench.core.threat import EVERY_NORM, Budget, Norm

Start = Literal["none", "uniform", "gaussian"]

_SIGMA = 0.001  # of the Gaussian start, in pixel units


@dataclass(frozen=True)
class Ascent(Attack):
    """Repeat the steepest step, projected back to the budget; returns the last iterate.

    `loss(logits, y, *more)` gives one loss for each example; `y` and what follows it are the tensors handed
    to the attack, of any type and shape [n, ...]: TRADES climbs against the logits of the clean images.
    The Gaussian start is x + 0.001 N(0, 1) (TRADES, MART). With `clip_start` the start is clipped to the box
    before the first gradient, without it only what a step makes of it is: released code has both forms.
    """

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM
    needs: ClassVar[Needs] = "gradients"

    loss: Loss = cross_entropy
    steps: int = 10
    step_size: Fraction = Fraction("1/4")  # of eps
    start: Start = "uniform"
    clip_start: bool = True  # whether the first gradient is taken at valid pixels

    def __post_init__(self) -> None:
        require_count("Ascent", "steps", self.steps)
        require_fraction_of_eps("Ascent", "step_size", self.step_size)
        require_one_of("Ascent", "start", self.start, get_args(Start))

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; one gradient per step."""
        x_adv = self._start(x, budget, generator)
        project = geometry.projector(x, budget)
        for _ in range(self.steps):
            climb = oracle.climb(self.loss, x_adv, y)
            x_adv = project(geometry.steepest_step(x_adv, climb.gradient, budget, float(self.step_size)))
        return x_adv

    def _start(self, x: Tensor, budget: Budget, generator: Generator) -> Tensor:
        if self.start == "none":
            return x
        if self.start == "uniform":
            start = geometry.unclipped_start(x, budget, generator)
        else:
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            start = torch.add(x, noise, alpha=_SIGMA)
        return start.clamp_(0, 1) if self.clip_start else start
