"""MART: adversarial training that weighs misclassified examples.

Wang, Zou, Yi, Bailey, Ma, Gu, "Improving Adversarial Robustness Requires Revisiting Misclassified Examples",
ICLR 2020. Formulas follow the authors' released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.attacks.losses import cross_entropy
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import boosted_margin, weighted_divergence


@dataclass(frozen=True)
class Mart:
    """Minimise BCE(x', y) + lam KL(p(x) || p(x')) (1 - p_y(x)), x' the images of largest cross-entropy.

    The boosted cross-entropy BCE is CE(z(x'), y) - log(1 - p_c(x')), c the likeliest wrong class of x'.
    Clean images enter through the divergence alone, so they are not forwarded where lam is 0; they and the
    adversarial ones are forwarded separately, so BatchNorm sees the statistics of each alone.
    """

    paper: ClassVar[str] = (
        "Wang et al., Improving Adversarial Robustness Requires Revisiting Misclassified Examples, ICLR 2020"
    )
    reconstruction: ClassVar[str | None] = None

    lam: float = 5.0  # lambda, weight of the divergence; the authors' wide networks: 6
    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps; the authors': 0.007 of 0.031
    clip_start: bool = False  # whether the start is cut to [0, 1] before the first gradient; released: after

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if self.lam < 0:
            raise BadValue(f"lam is {self.lam}, expected a number of at least 0")

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
            x_adv = context.attack(net, attack, batch.x, batch.y)
            return self.terms(model(batch.x) if self.lam else None, model(x_adv), batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor | None, logits_adv: Tensor, y: Tensor) -> Terms:
        """Every loss term, weighted, of logits [B, K] of x (None: without the divergence) and of x'.

        Gradients flow through both arguments of the divergence and through its weight 1 - p_y(x).
        """
        terms = {
            "adversarial": F.cross_entropy(logits_adv.float(), y),
            "margin": boosted_margin(logits_adv, y),
        }
        if logits is not None:
            terms["robust"] = self.lam * weighted_divergence(logits, logits_adv, y)
        return terms

    def _attack(self) -> Ascent:
        return Ascent(cross_entropy, self.steps, self.step_size, "gaussian", self.clip_start)


_: Defense = Mart()
