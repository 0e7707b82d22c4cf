"""Attacks that know of a detector: wrong and accepted (Bryniarski et al., ICLR 2022).

Bryniarski, Hingun, Pachuca, Wang & Carlini, "Evading Adversarial Example Detection Defenses with Orthogonal
Projected Gradient Descent": climbing a sum of both aims wastes steps on the one that is reached already.
Selective descent climbs one at a time; orthogonal descent takes out of each step what would undo the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle, Suspected, SuspicionLoss
from bench.attacks import geometry
from bench.attacks.losses import margin
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_count, require_one_of
from bench.core.threat import LINF_L2, Budget, Norm
from bench.errors import BadValue

Rule = Literal["selective", "orthogonal", "sum"]

COLLINEAR = 1e-4
"""The share of a gradient that must be left after a projection: with less, the whole gradient is used."""


@dataclass(frozen=True)
class Selective(SuspicionLoss):
    """The margin until the classifier is fooled, then the detector's trust: one aim at a time."""

    confidence: float = 0.0  # how far the margin must be above 0 before the detector's turn

    def __call__(self, answer: Suspected, y: Tensor) -> Tensor:
        """[n]: not comparable between steps."""
        lead = margin(answer.logits, y)
        return torch.where(lead <= self.confidence, lead, -answer.suspicion)


@dataclass(frozen=True)
class Weighted(SuspicionLoss):
    """The margin, up to `confidence`, minus the weighted suspicion above 0 (Carlini & Wagner, AISec 2017)."""

    confidence: float = 0.0
    weight: float = 1.0

    def __call__(self, answer: Suspected, y: Tensor) -> Tensor:
        """[n]: at most `confidence`, which is reached where the image is wrong and accepted."""
        lead = margin(answer.logits, y).clamp(max=self.confidence)
        return lead - self.weight * answer.suspicion.clamp(min=0)


@dataclass(frozen=True)
class Trust(SuspicionLoss):
    """Minus the suspicion, whatever the class."""

    def __call__(self, answer: Suspected, y: Tensor) -> Tensor:
        """[n]: above 0 where the image is accepted."""
        return -answer.suspicion


@dataclass(frozen=True)
class DetectorAware(Attack):
    """Steepest steps from 2 eps down to nearly 0 (cosine) by one of three rules; the last iterate.

    `orthogonal` costs two gradients a step, the others one.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"
    of_suspicion: ClassVar[bool] = True

    rule: Rule = "orthogonal"
    steps: int = 100
    random_start: bool = True
    confidence: float = 0.01  # the margin, in logits, from which the classifier counts as fooled
    weight: float = 1.0  # of the suspicion, by the rule `sum` alone

    def __post_init__(self) -> None:
        require_one_of("DetectorAware", "rule", self.rule, get_args(Rule))
        require_count("DetectorAware", "steps", self.steps)
        for name, value in (("confidence", self.confidence), ("weight", self.weight)):
            if not (math.isfinite(value) and value >= 0):
                raise BadValue(f"DetectorAware.{name} is {value!r}, expected a number of at least 0")

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        x_adv = geometry.random_start(x, budget, generator) if self.random_start else x
        project = geometry.projector(x, budget)
        for step in range(self.steps):
            size = 1 + math.cos(math.pi * step / self.steps)
            x_adv = project(geometry.steepest_step(x_adv, self._uphill(oracle, x_adv, y), budget, size))
        return x_adv

    def _uphill(self, oracle: Oracle, x_adv: Tensor, y: Tensor) -> Tensor:
        if self.rule == "selective":
            return oracle.climb(Selective(self.confidence), x_adv, y).gradient
        if self.rule == "sum":
            return oracle.climb(Weighted(self.confidence, self.weight), x_adv, y).gradient
        fooling, trusted = oracle.climb(margin, x_adv, y), oracle.climb(Trust(), x_adv, y)
        fooled = (margin(fooling.logits, y) > self.confidence)[:, None, None, None]
        to_fool = without(fooling.gradient, trusted.gradient)
        to_be_trusted = without(trusted.gradient, fooling.gradient)
        return torch.where(fooled, to_be_trusted, to_fool)


def without(gradient: Tensor, other: Tensor) -> Tensor:
    """The part of each gradient [n, C, H, W] that is orthogonal to the other; all of it where none is left.

    Equations 7 and 8 of the paper.
    """
    along, across = gradient.flatten(1).double(), other.flatten(1).double()
    share = (along * across).sum(1) / across.square().sum(1).clamp(min=torch.finfo(torch.float64).tiny)
    left = along - share[:, None] * across
    none_left = left.norm(dim=1) <= COLLINEAR * along.norm(dim=1)
    kept = torch.where(none_left[:, None], along, left)
    return kept.to(gradient.dtype).reshape(gradient.shape)
