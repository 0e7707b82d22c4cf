"""Bilateral adversarial training: images and labels are both perturbed, each in one step.

Wang & Zhang, "Bilateral Adversarial Training: Towards Fast Training of More Robust Models Against Adversarial
Attacks", ICCV 2019, arXiv 1811.10716. Formulas follow the authors' released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.attacks.losses import most_confusing, towards
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.head import head
from bench.train.loop import fit_classifier
from defenses.losses import soft_cross_entropy

Target = Literal["most_confusing", "random", "mosa"]

_GAP = 1e-4  # the least by which the true class must lead another for mosa to consider it
_FAR = 1e4  # the lead that the others are given instead


@dataclass(frozen=True)
class Bilateral:
    """Minimise CE(z(x'), y'), x' one targeted step from a random start, y' an adversarial label.

    Both come from what the network, in eval mode, answers for the clean image: the target is chosen by its
    logits, and the label takes mass from the true class and gives it to the wrong ones, most to the least
    likely. Clean images are not trained on.
    """

    paper: ClassVar[str] = "Wang & Zhang, Bilateral Adversarial Training, ICCV 2019"
    reconstruction: ClassVar[str | None] = None

    target: Target = (
        "most_confusing"  # R-MC-LA; random: R-RAND-LA; mosa: R-MOSA-LA, nearest decision boundary
    )
    mu: float = 9.0  # y'_y is mu times the mass that the least likely class gets; 0: y' has none of it left
    gamma: float = 0.01  # keeps the likeliest wrong class, whose -log p is least, from getting nothing
    steps: int = 1
    step_size: Fraction = Fraction(1)  # of eps
    clip_start: bool = False  # whether the start is cut to [0, 1] before the first gradient; released: after

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if self.mu < 0:
            raise BadValue(f"mu is {self.mu}, expected a number of at least 0")
        if self.gamma <= 0:
            raise BadValue(f"gamma is {self.gamma}, expected a number above 0")

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        attack = self._attack()

        def step(model: nn.Module, batch: Batch) -> Terms:
            clean = context.observe(net, batch.x).logits
            target = self.targets(net, clean, batch.y, context.generator)
            x_adv = context.attack(net, attack, batch.x, target)
            return {"adversarial": soft_cross_entropy(model(x_adv), self.labels(clean, batch.y))}

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def targets(self, net: nn.Module, logits: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """A wrong class [B] for each row of clean logits [B, K]."""
        if self.target == "most_confusing":
            return most_confusing(logits, y)
        classes = logits.shape[1]
        if self.target == "random":
            return (y + torch.randint(1, classes, y.shape, generator=generator, device=y.device)) % classes
        return nearest_boundary(logits, y, head(net, classes).weight)

    def labels(self, logits: Tensor, y: Tensor) -> Tensor:
        """The adversarial labels [B, K] from clean logits [B, K]; rows sum to one.

        With l_k = -log p_k and v, V its least and largest value over wrong classes, the wrong classes share
        delta = 1 / (1 + mu (V - v + gamma) / sum_k (l_k - v + gamma)) in proportion to l_k - v + gamma.
        """
        true = y[:, None]
        surprise = -(logits.float().softmax(dim=1) + 1e-8).log()
        least = surprise.scatter(1, true, torch.inf).amin(dim=1, keepdim=True)
        share = (surprise - least + self.gamma).scatter(1, true, 0.0)
        total = share.sum(dim=1, keepdim=True)
        delta = 1 / (1 + self.mu * share.amax(dim=1, keepdim=True) / total)
        return (delta * share / total).scatter(1, true, 1 - delta)

    def _attack(self) -> Ascent:
        return Ascent(towards, self.steps, self.step_size, clip_start=self.clip_start)


def nearest_boundary(logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """MOSA: the wrong class k with the least (z_y - z_k) / ||w_y - w_k|| among those that y leads, [B].

    `weight` [K, D] is the last layer's. Where y leads no class, the one with the farthest weights.
    """
    weight = weight.detach().float()
    apart = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")[y]
    lead = logits.gather(1, y[:, None]) - logits
    distance = torch.where(lead > _GAP, lead, _FAR) / apart
    return distance.scatter(1, y[:, None], torch.inf).argmin(dim=1)


_: Defense = Bilateral()
