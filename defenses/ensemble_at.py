"""Ensemble adversarial training: examples of fixed networks are mixed with one's own.

Tramèr, Kurakin, Papernot, Goodfellow, Boneh, McDaniel, "Ensemble Adversarial Training: Attacks and Defenses",
ICLR 2018, arXiv 1705.07204. Steps follow the authors' released code for MNIST. It is a defense against
transferred one-step examples; its authors say that it is none against white-box attackers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier


@dataclass(frozen=True)
class EnsembleAt:
    """Minimise (CE(z(x), y) + CE(z(x'), y)) / 2, x' one step of the gradient's sign on one of some networks.

    The network is drawn anew for each minibatch: one of `members`, trained before and fixed, or the one
    that trains, all equally likely. What climbs is the cross-entropy to the class that it itself answers,
    so that labels do not leak. The authors climb with dropout on, here it is in eval mode.
    """

    paper: ClassVar[str] = "Tramèr et al., Ensemble Adversarial Training, ICLR 2018"
    reconstruction: ClassVar[str | None] = None

    members: tuple[str, ...] = ("standard@small_cnn", "standard@lenet", "standard@wide_resnet_10_1")
    step_size: Fraction = Fraction(1)  # of eps

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if not self.members:
            raise BadValue(
                "members is empty, expected at least one network", "members=standard@lenet,standard@small_cnn"
            )
        if len({*self.members}) < len(self.members):
            twice = next(name for name in self.members if self.members.count(name) > 1)
            raise BadValue(f"members has {twice!r} twice, which is the same network, expected each once")

    @property
    def requires(self) -> Mapping[str, str]:
        """The fixed networks."""
        return {f"member_{place}": member for place, member in enumerate(self.members)}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier; the members are only needed while it trains."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        sources, attack = [*context.parents.values(), net], self._attack()

        def step(model: nn.Module, batch: Batch) -> Terms:
            lot = torch.randint(len(sources), (), generator=context.generator, device=context.device)
            x_adv = context.attack(sources[int(lot)], attack, batch.x, batch.y)
            return self.terms(model(batch.x), model(x_adv), batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor, logits_adv: Tensor, y: Tensor) -> Terms:
        """Both loss terms, weighted, of logits [B, K] of x and of x'."""
        return {
            "clean": F.cross_entropy(logits.float(), y) / 2,
            "adversarial": F.cross_entropy(logits_adv.float(), y) / 2,
        }

    def _attack(self) -> Ascent:
        return Ascent(loss=of_its_answer, steps=1, step_size=self.step_size, start="none")


def of_its_answer(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy [n] of logits [n, K] to the class that they name; the labels y play no part."""
    return F.cross_entropy(logits, logits.argmax(dim=1), reduction="none")


_: Defense = EnsembleAt()
