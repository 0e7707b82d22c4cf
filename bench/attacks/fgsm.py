"""The fast gradient sign method (Goodfellow, Shlens & Szegedy, ICLR 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import LOSSES, LossName
from bench.attacks.parameters import require_fraction_of_eps, require_one_of
from bench.core.threat import EVERY_NORM, Budget, Norm


@dataclass(frozen=True)
class FGSM(Attack):
    """One steepest step: the sign of the gradient under Linf, its direction under L2, few values under L1.

    With a random start and a step of 5/4 it is the attack of Wong, Rice & Kolter (ICLR 2020).
    """

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM
    needs: ClassVar[Needs] = "gradients"

    step_size: Fraction = Fraction(1)  # of eps
    random_start: bool = False
    loss: LossName = "cross_entropy"

    def __post_init__(self) -> None:
        require_fraction_of_eps("FGSM", "step_size", self.step_size)
        require_one_of("FGSM", "loss", self.loss, LOSSES)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; one gradient."""
        start = geometry.random_start(x, budget, generator) if self.random_start else x
        climb = oracle.climb(LOSSES[self.loss], start, y)
        x_adv = geometry.steepest_step(start, climb.gradient, budget, float(self.step_size))
        return geometry.project(x_adv, x, budget)
