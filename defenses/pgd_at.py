"""Adversarial training by PGD (Madry, Makelov, Schmidt, Tsipras, Vladu, ICLR 2018, arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch.nn.functional as F
from torch import nn

from bench.api import AttackMode, Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.pgd import PGD
from bench.nn.architectures import network
from bench.train.loop import fit_classifier


@dataclass(frozen=True)
class PgdAt:
    """Minimise CE(z(x'), y), x' the images that PGD finds within the budget (equation 2.1).

    The authors' code for CIFAR-10 attacks the network as it trains, so each step of the attack moves
    BatchNorm's running statistics; their code for MNIST has no BatchNorm. Others' code in PyTorch mostly
    attacks in eval mode.
    """

    paper: ClassVar[str] = (
        "Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018"
    )
    reconstruction: ClassVar[str | None] = None

    steps: int = 10  # CIFAR-10: 10 in the authors' configuration, 7 in the text
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255
    attack_mode: AttackMode = "train"  # as the authors' code for CIFAR-10 does
    last_look: bool = False  # whether x' goes through once more in that mode, as where its loss is looked at

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range

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
            x_adv = context.attack(net, attack, batch.x, batch.y, mode=self.attack_mode)
            if self.last_look:
                context.observe(net, x_adv, self.attack_mode)
            return {"adversarial": F.cross_entropy(model(x_adv).float(), batch.y)}

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def _attack(self) -> PGD:
        return PGD(steps=self.steps, step_size=self.step_size, random_start=True)


_: Defense = PgdAt()
