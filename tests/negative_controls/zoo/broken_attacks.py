"""Attacks that keep the contract and are wrong all the same; those that break it are in `bad_attacks`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Oracle
from bench.attacks.geometry import project
from bench.attacks.losses import cross_entropy
from bench.attacks.pgd import PGD
from bench.core.threat import Budget


@dataclass(frozen=True)
class LastIterate:
    """Walks past its successes and back: what it returns is where it began."""

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        PGD()(oracle, x, y, budget, generator)
        return x


@dataclass(frozen=True)
class LeavesBall:
    """PGD within a ball that is larger by 1/255."""

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        found = PGD()(oracle, x, y, budget, generator)
        return (found + (found - x).sign() / 255).clamp(0, 1)


@dataclass(frozen=True)
class LeavesBox:
    """PGD without the clamp to [0, 1]."""

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        found = PGD()(oracle, x, y, budget, generator)
        return found + budget.radius * torch.where(found >= 1, 1.0, torch.where(found <= 0, -1.0, 0.0))


@dataclass(frozen=True)
class WrongWay:
    """Goes down where it should climb."""

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        x_adv = x
        for _ in range(10):
            uphill = oracle.climb(cross_entropy, x_adv, y).gradient.sign()
            x_adv = project(x_adv - budget.radius / 4 * uphill, x, budget)
        return x_adv


@dataclass(frozen=True)
class GivesUp:
    """Returns the clean images, without a question."""

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        return x.clone()
