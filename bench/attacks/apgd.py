"""Auto-PGD, which chooses its step sizes itself (Croce & Hein, ICML 2020, Algorithm 1; L1: ICML 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from bench.api import Attack, Loss, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.apgd_l1 import ascend_l1, start_l1
from bench.attacks.combine import Attempt, attack_standing
from bench.attacks.losses import LOSSES, TARGETED_LOSSES, TargetedLossName, most_confusing
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count, require_one_of
from bench.core.threat import LINF_L2_L1, Budget, Norm

APGDLoss = Literal["cross_entropy", "dlr", "margin"]
MOMENTUM = 0.75  # alpha of the paper: the share of the new step in each move
FIRST_STEP = 2.0  # of eps
NORMS = (Norm.LINF, Norm.L2, Norm.L1)


@dataclass(frozen=True)
class APGD(Attack):
    """Climb with momentum; halve a step that stopped paying and go on from the best image so far.

    Returns the iterate of highest loss. Costs `steps` gradients and one more query for the last iterate.
    Under L1 steps are sparse, and `rho` plays no part.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2_L1
    needs: ClassVar[Needs] = "gradients"

    steps: int = 100
    loss: APGDLoss = "cross_entropy"
    random_start: bool = True
    rho: float = 0.75  # the share of steps uphill below which a step size is halved

    def __post_init__(self) -> None:
        require_count("APGD", "steps", self.steps)
        require_one_of("APGD", "loss", self.loss, get_args(APGDLoss))
        require_between("APGD", "rho", self.rho, 0, 1)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        start = _start(x, budget, generator) if self.random_start else x
        return ascend(oracle, LOSSES[self.loss], (y,), start, x, budget, self.steps, self.rho)


@dataclass(frozen=True)
class TargetedAPGD(Attack):
    """Auto-PGD towards each of the likeliest wrong classes of the clean image, on what still stands.

    With fewer than `targets` wrong classes, all of them. Each target starts from another random point.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2_L1
    needs: ClassVar[Needs] = "gradients"

    steps: int = 100
    targets: int = 9
    loss: TargetedLossName = "targeted_dlr"
    rho: float = 0.75

    def __post_init__(self) -> None:
        require_count("TargetedAPGD", "steps", self.steps)
        require_count("TargetedAPGD", "targets", self.targets)
        require_one_of("TargetedAPGD", "loss", self.loss, TARGETED_LOSSES)
        require_between("TargetedAPGD", "rho", self.rho, 0, 1)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        clean = oracle.logits(x)

        def towards(rank: int) -> Attempt:
            target = most_confusing(clean, y, rank)

            def attempt(held: Oracle, rows: Tensor) -> Tensor:
                start = _start(x[rows], budget, generator)
                labels = (y[rows], target[rows])
                loss = TARGETED_LOSSES[self.loss]
                return ascend(held, loss, labels, start, x[rows], budget, self.steps, self.rho)

            return attempt

        ranks = range(1, min(self.targets, oracle.num_classes - 1) + 1)
        return attack_standing(oracle, x, y, [towards(rank) for rank in ranks])


def _start(x: Tensor, budget: Budget, generator: Generator) -> Tensor:
    if budget.norm is Norm.L1:
        return start_l1(x, budget, generator)
    return geometry.random_start(x, budget, generator)


def ascend(
    oracle: Oracle,
    loss: Loss,
    labels: tuple[Tensor, ...],
    start: Tensor,
    x: Tensor,
    budget: Budget,
    steps: int,
    rho: float = 0.75,
) -> Tensor:
    """The iterate of highest loss, or the one that broke its example."""
    if budget.norm is Norm.L1:
        return ascend_l1(oracle, loss, labels, start, x, budget, steps)
    project = geometry.projector(x, budget)
    x_adv, x_before, x_best, best_gradient = start, start, start, torch.zeros_like(x)
    best = before = x.new_full((len(x),), -torch.inf)
    step_size = x.new_full((len(x), 1, 1, 1), FIRST_STEP * budget.radius)
    window = _Window.opened(best, torch.zeros_like(best, dtype=torch.bool))
    checkpoints = _checkpoints(steps)
    for step in range(steps):
        climb = oracle.climb(loss, x_adv, *labels)
        gradient, frozen = climb.gradient, _rows(climb.broken)
        better = (climb.loss > best) | climb.broken
        best = torch.where(better, climb.loss, best)
        x_best = torch.where(_rows(better), x_adv, x_best)
        best_gradient = torch.where(_rows(better), gradient, best_gradient)
        window = window.after(climb.loss > before) if step else _Window.opened(best, window.halved)
        before = climb.loss
        if step in checkpoints:
            halve = window.exhausted(best, rho)
            window = _Window.opened(best, halve)
            back = _rows(halve)
            step_size = torch.where(back, step_size / 2, step_size)
            x_adv, gradient = torch.where(back, x_best, x_adv), torch.where(back, best_gradient, gradient)
        direction = geometry.steepest_direction(gradient, budget.norm)
        stepped = project(torch.addcmul(x_adv, step_size, direction))
        if step > 0:
            moved = torch.lerp(x_adv, stepped, MOMENTUM)
            stepped = project(moved.add_(x_adv - x_before, alpha=1 - MOMENTUM))
        x_before, x_adv = x_adv, torch.where(frozen, x_adv, stepped)
    last = loss(oracle.logits(x_adv), *labels)
    return torch.where(_rows((last > best) | oracle.broken()), x_adv, x_best)


@dataclass(frozen=True)
class _Window:
    """What happened to each example [n] since the last checkpoint."""

    best: Tensor  # the highest loss before
    halved: Tensor  # the step size was halved at its start
    rises: Tensor  # steps that went uphill
    steps: int

    @classmethod
    def opened(cls, best: Tensor, halved: Tensor) -> _Window:
        return cls(best, halved, torch.zeros_like(best), 0)

    def after(self, rose: Tensor) -> _Window:
        return _Window(self.best, self.halved, self.rises + rose, self.steps + 1)

    def exhausted(self, best: Tensor, rho: float) -> Tensor:
        """Too few steps uphill (condition 1), or no new best at an unchanged step size (condition 2)."""
        return (self.rises < rho * self.steps) | (~self.halved & (best <= self.best))


def _checkpoints(steps: int) -> frozenset[int]:
    """The steps at which step sizes are reconsidered: 22, 41, 57, 70, 80, 87, 93 and 99 % of all."""
    before, point, found = 0, 22, set[int]()
    while point < 100:
        found.add(-(-point * steps // 100))
        before, point = point, point + max(point - before - 3, 6)
    return frozenset(found)


def _rows(mask: Tensor) -> Tensor:
    return mask[:, None, None, None]
