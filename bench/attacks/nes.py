"""Gradients estimated from scores: NES (Ilyas et al., ICML 2018) and SPSA (Uesato et al., ICML 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import LOSSES, LossName
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count, require_fraction_of_eps, require_one_of
from bench.attacks.witness import or_else
from bench.core.threat import LINF_L2, Budget, Norm
from bench.errors import BadValue

Direction = Literal["gaussian", "rademacher"]


@dataclass(frozen=True)
class NES(Attack):
    """Estimate the gradient by differences along random directions, step along a running mean, repeat.

    Each pair of queries asks on both sides of the iterate, in one direction for each image. Stops when all
    examples are broken. Both papers' estimates, and NES's step; Uesato et al. step with Adam.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "scores"

    queries: int = 5000  # per example
    samples: int = 50  # queries for one step
    direction: Direction = "gaussian"  # gaussian: NES; rademacher, signs: SPSA
    sigma: float = 0.001  # how far from the iterate to ask, in pixel units
    step_size: Fraction = Fraction("1/5")  # of eps
    decay: float = 0.9  # of the running mean, at each step
    loss: LossName = "margin"

    def __post_init__(self) -> None:
        require_count("NES", "queries", self.queries, least=2)
        require_count("NES", "samples", self.samples, least=2)
        require_one_of("NES", "direction", self.direction, get_args(Direction))
        require_fraction_of_eps("NES", "step_size", self.step_size)
        require_between("NES", "decay", self.decay, 0, 1)
        require_one_of("NES", "loss", self.loss, LOSSES)
        if not self.sigma > 0:
            raise BadValue(f"NES.sigma is {self.sigma}, expected a distance above 0", "sigma=0.001")

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]: the last iterates, or what broke the example on the way."""
        require_norm(self, budget)
        project = geometry.projector(x, budget)
        x_adv, mean = x, torch.zeros_like(x)
        spent = 0
        while spent + 2 <= self.queries and not oracle.broken().all():
            pairs = min(self.samples, self.queries - spent) // 2
            gradient = self._estimate(oracle, x_adv, y, pairs, generator)
            spent += 2 * pairs
            mean = self.decay * mean + (1 - self.decay) * gradient
            x_adv = project(geometry.steepest_step(x_adv, mean, budget, float(self.step_size)))
        return or_else(oracle, x_adv, x, budget)

    def _estimate(self, oracle: Oracle, x: Tensor, y: Tensor, pairs: int, generator: Generator) -> Tensor:
        """The mean of directions, each weighted by the slope along it; [n, C, H, W]."""
        loss, total = LOSSES[self.loss], torch.zeros_like(x)
        for _ in range(pairs):
            direction = self._draw(x, generator)
            above = loss(oracle.logits(torch.add(x, direction, alpha=self.sigma)), y)
            below = loss(oracle.logits(torch.sub(x, direction, alpha=self.sigma)), y)
            total.addcmul_(direction, (above - below)[:, None, None, None])
        return total.div_(2 * self.sigma * pairs)

    def _draw(self, x: Tensor, generator: Generator) -> Tensor:
        if self.direction == "gaussian":
            return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        coins = torch.randint(0, 2, x.shape, generator=generator, device=x.device)
        return coins.mul_(2).sub_(1).to(x.dtype)


SPSA = NES(samples=100, direction="rademacher", sigma=0.01)
"""Simultaneous perturbation by random signs (Uesato et al., ICML 2018), with the steps of NES."""
