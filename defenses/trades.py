"""TRADES: trading clean accuracy for robustness by a divergence between clean and adversarial outputs.

Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan, "Theoretically Principled Trade-off between Robustness and
Accuracy", ICML 2019, arXiv 1901.08573. Formulas follow the authors' released code.
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
from defenses.losses import away, divergence


@dataclass(frozen=True)
class Trades:
    """Minimise CE(z(x), y) + beta KL(p(x) || p(x')), x' the images that make this divergence largest.

    Labels play no part in the attack. Clean and adversarial images are forwarded separately, so BatchNorm
    sees the statistics of each alone. The released code forwards the clean images once more for the
    divergence: without dropout that gives the same logits and gradients, and only moves running statistics,
    which are then two thirds of clean images and one of adversarial ones. With beta = 0 this is natural
    training, and no attack is made.
    """

    paper: ClassVar[str] = (
        "Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019"
    )
    reconstruction: ClassVar[str | None] = None

    beta: float = 6.0  # weight of the divergence, 1/lambda in the paper; the authors' MNIST: 1
    steps: int = 10  # the authors' MNIST: 40
    step_size: Fraction = Fraction(1, 4)  # of eps; the authors': 0.007 of 0.031
    clip_start: bool = False  # whether the start is cut to [0, 1] before the first gradient; released: after
    second_forward: bool = True  # whether clean images move BatchNorm's running statistics twice, as released

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if self.beta < 0:
            raise BadValue(f"beta is {self.beta}, expected a number of at least 0")

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
            if not self.beta:
                return self.terms(model(batch.x), None, batch.y)
            clean = context.observe(net, batch.x).logits
            x_adv = context.attack(net, attack, batch.x, clean)
            logits, logits_adv = model(batch.x), model(x_adv)
            if self.second_forward:
                with torch.no_grad():
                    model(batch.x)
            return self.terms(logits, logits_adv, batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor, logits_adv: Tensor | None, y: Tensor) -> Terms:
        """Both loss terms, weighted, of logits [B, K] of x and of x' (None: the clean term alone).

        Gradients flow through both arguments of the divergence.
        """
        terms = {"clean": F.cross_entropy(logits.float(), y)}
        if logits_adv is not None:
            terms["robust"] = self.beta * divergence(logits, logits_adv).mean()
        return terms

    def _attack(self) -> Ascent:
        # not from x itself, where the divergence is least and has no gradient
        return Ascent(away, self.steps, self.step_size, "gaussian", self.clip_start)


_: Defense = Trades()
