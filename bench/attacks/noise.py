"""Random noise: the attack that knows nothing, and a floor for all that know something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks.geometry import random_start
from bench.attacks.losses import fooled
from bench.attacks.parameters import require_count
from bench.core.threat import EVERY_NORM, Budget, Norm


@dataclass(frozen=True)
class UniformNoise(Attack):
    """The first of several uniform draws from the budget that is misclassified; else the last."""

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM
    needs: ClassVar[Needs] = "labels"

    draws: int = 10

    def __post_init__(self) -> None:
        require_count("UniformNoise", "draws", self.draws)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; one query per draw for each example that still stands."""
        x_adv = x
        found = torch.zeros_like(y, dtype=torch.bool)
        for _ in range(self.draws):
            drawn = random_start(x, budget, generator)
            x_adv = torch.where(found[:, None, None, None], x_adv, drawn)
            found = found | fooled(oracle.labels(x_adv), y)
            if found.all():
                break
        return x_adv
