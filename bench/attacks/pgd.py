"""Projected gradient descent (Madry, Makelov, Schmidt, Tsipras & Vladu, ICLR 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from bench.api import Attack, Loss, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import LOSSES, TARGETED_LOSSES, LossName, most_confusing, targeted_cross_entropy
from bench.attacks.parameters import require_count, require_fraction_of_eps, require_one_of
from bench.core.threat import EVERY_NORM, Budget, Norm
from bench.errors import BadValue

Target = Literal["none", "given", "most_confusing", "least_likely", "random"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class PGD(Attack):
    """Repeat the steepest step, projected back to the budget; returns the last iterate.

    Targets are wrong classes chosen once, by what the oracle answers for the clean image (one query) or at
    random. With `target="given"` the labels handed to the attack are the targets themselves: for training.
    """

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM
    needs: ClassVar[Needs] = "gradients"

    steps: int = 20
    step_size: Fraction = Fraction("1/4")  # of eps
    random_start: bool = True
    loss: LossName | Literal["adaptive"] = "cross_entropy"  # adaptive: the one that the defense brings
    target: Target = "none"
    schedule: Schedule = "constant"  # cosine: from step_size down to nearly zero

    def __post_init__(self) -> None:
        require_count("PGD", "steps", self.steps)
        require_fraction_of_eps("PGD", "step_size", self.step_size)
        require_one_of("PGD", "loss", self.loss, (*LOSSES, "adaptive"))
        require_one_of("PGD", "target", self.target, get_args(Target))
        require_one_of("PGD", "schedule", self.schedule, get_args(Schedule))
        if self.target == "given" and self.loss != "cross_entropy":
            raise BadValue(
                f"PGD.loss is {self.loss!r}, expected cross_entropy where the labels given are the targets",
                "loss=cross_entropy",
            )
        if self.target != "none" and f"targeted_{self.loss}" not in TARGETED_LOSSES:
            raise BadValue(
                f"PGD.loss is {self.loss!r}, which has no targeted form, expected cross_entropy, margin or "
                f"dlr with target {self.target!r}",
                "target=none",
            )

    @property
    def climbs_adaptive_loss(self) -> bool:
        """Whether it climbs the loss that the defense brings."""
        return self.loss == "adaptive"

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; one gradient per step."""
        x_adv = geometry.random_start(x, budget, generator) if self.random_start else x
        loss, labels = self._objective(oracle, x, y, generator)
        project = geometry.projector(x, budget)
        for step in range(self.steps):
            climb = oracle.climb(loss, x_adv, *labels)
            x_adv = geometry.steepest_step(x_adv, climb.gradient, budget, self._step_size(step))
            x_adv = project(x_adv)
        return x_adv

    def _objective(
        self, oracle: Oracle, x: Tensor, y: Tensor, generator: Generator
    ) -> tuple[Loss | None, tuple[Tensor, ...]]:
        if self.target == "given":
            return targeted_cross_entropy, (y, y)
        if self.target == "none":
            return LOSSES.get(self.loss), (y,)
        return TARGETED_LOSSES[f"targeted_{self.loss}"], (y, self._targets(oracle, x, y, generator))

    def _targets(self, oracle: Oracle, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        if self.target == "random":
            shift = torch.randint(1, oracle.num_classes, y.shape, generator=generator, device=y.device)
            return (y + shift) % oracle.num_classes
        return most_confusing(
            oracle.logits(x), y, 1 if self.target == "most_confusing" else oracle.num_classes - 1
        )

    def _step_size(self, step: int) -> float:
        if self.schedule == "constant":
            return float(self.step_size)
        return float(self.step_size) * (1 + math.cos(math.pi * step / self.steps)) / 2
