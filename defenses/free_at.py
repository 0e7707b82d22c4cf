"""Free adversarial training: one backward pass moves the weights and the attack.

Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor, Goldstein, "Adversarial Training for Free!",
NeurIPS 2019, arXiv 1904.12843. Steps follow the authors' released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.geometry import steepest_step
from bench.core.threat import Budget, Norm
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier


@dataclass(frozen=True)
class FreeAt:
    """Minimise CE(z(x + d), y), each minibatch `replays` times in a row; d climbs by the same gradients.

    After each step d moves by `step_size` eps along the gradient at the weights before the step, and back
    into the budget; x + d is clipped to the box. d belongs to a place in the batch, not to an image: it
    lives on with the next minibatch. It starts at zero, and here with each epoch again.

    An epoch of the recipe has as many steps as ever, so it sees 1/replays of the training images, in their
    order: the cost is that of natural training. The authors' 90 epochs of ImageNet count in the same way.
    """

    paper: ClassVar[str] = "Shafahi et al., Adversarial Training for Free!, NeurIPS 2019"
    reconstruction: ClassVar[str | None] = None

    replays: int = 4  # m; the released configuration's, for ImageNet; the paper's CIFAR-10: 8
    step_size: Fraction = Fraction(1)  # of eps

    def __post_init__(self) -> None:
        if self.replays < 1:
            raise BadValue(f"replays is {self.replays}, expected at least 1", "replays=4")
        if self.step_size <= 0:
            raise BadValue(f"step_size is {self.step_size}, expected a share of eps above 0", "step_size=1")

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        require_ball(context.budget.norm)
        perturbation = Perturbed(float(self.step_size))

        def step(model: nn.Module, batch: Batch) -> Terms:
            now = Budget(context.budget.norm, context.budget.eps * context.strength)
            x_adv = perturbation.added(batch.x, now, context.epochs_done)
            return {"adversarial": F.cross_entropy(model(x_adv).float(), batch.y)}

        fit_classifier(net, context, step, keep="robust", replays=self.replays)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)


@dataclass
class Perturbed:
    """The perturbation d of each place in a batch, and what the last backward pass says of it."""

    step_size: float  # of eps
    delta: Tensor = field(default_factory=lambda: torch.zeros(0))  # [places, C, H, W]
    asked: Tensor | None = None  # the part of it that was last added, whose gradient is awaited
    epoch: int = -1

    def added(self, x: Tensor, budget: Budget, epoch: int) -> Tensor:
        """x + d [B, C, H, W] in the box, with a gradient for d; d has moved by what the one before got."""
        if epoch != self.epoch or len(x) > len(self.delta):
            self.delta, self.epoch, self.asked = torch.zeros_like(x), epoch, None
        self._move(budget)
        self.asked = self.delta[: len(x)].clone().requires_grad_()
        return (x + self.asked).clamp(0, 1)

    @torch.no_grad()
    def _move(self, budget: Budget) -> None:
        if self.asked is None or self.asked.grad is None:
            return  # a second look at the same step, or its backward pass is still to come
        moved = steepest_step(self.asked, self.asked.grad, budget, self.step_size)
        self.delta[: len(moved)] = within(moved, budget)


def within(delta: Tensor, budget: Budget) -> Tensor:
    """Perturbations [n, C, H, W] moved back into the ball around zero; no box.

    >>> within(torch.full((1, 1, 1, 1), 0.5), Budget(Norm.LINF, Fraction(1, 4))).item()
    0.25
    """
    if budget.norm is Norm.LINF:
        return delta.clamp(-budget.radius, budget.radius)
    length = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
    scale: Tensor = (budget.radius / length.clamp_min(1e-12)).clamp_max(1)
    return delta * scale


def require_ball(norm: Norm) -> None:
    """Steps from no image are known under Linf and L2 alone."""
    if norm not in (Norm.LINF, Norm.L2):
        raise BadValue(
            f"free_at climbs under Linf and L2, but the budget's norm is {norm.value}",
            "--defense pgd_at, which has every norm",
        )


_: Defense = FreeAt()
