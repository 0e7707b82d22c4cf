"""The momentum iterative method, MI-FGSM (Dong, Liao, Pang, Su, Zhu, Hu & Li, CVPR 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import LOSSES, LossName
from bench.attacks.parameters import require_between, require_count, require_fraction_of_eps, require_one_of
from bench.core.threat import EVERY_NORM, Budget, Norm


@dataclass(frozen=True)
class MIFGSM(Attack):
    """Steepest steps along a decaying sum of gradients, each over its L1 norm; starts at the clean image."""

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM
    needs: ClassVar[Needs] = "gradients"

    steps: int = 20
    step_size: Fraction = Fraction("1/10")  # of eps
    decay: float = 1.0  # mu: of the momentum, at each step
    loss: LossName = "cross_entropy"

    def __post_init__(self) -> None:
        require_count("MIFGSM", "steps", self.steps)
        require_fraction_of_eps("MIFGSM", "step_size", self.step_size)
        require_between("MIFGSM", "decay", self.decay, 0, 1)
        require_one_of("MIFGSM", "loss", self.loss, LOSSES)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; one gradient per step."""
        x_adv = x
        momentum = torch.zeros_like(x)
        project = geometry.projector(x, budget)
        for _ in range(self.steps):
            climb = oracle.climb(LOSSES[self.loss], x_adv, y)
            size = climb.gradient.abs().sum((1, 2, 3), keepdim=True).clamp_(min=geometry.TINY)
            momentum.mul_(self.decay).add_(climb.gradient / size)
            moved = project(geometry.steepest_step(x_adv, momentum, budget, float(self.step_size)))
            # momentum would carry a broken example away from the image that broke it
            x_adv = torch.where(climb.broken[:, None, None, None], x_adv, moved)
        return x_adv
