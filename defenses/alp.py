"""Logit pairing: adversarial (ALP), its special case M-PGD, clean (CLP), and logit squeezing (LSQ).

Kannan, Kurakin, Goodfellow, "Adversarial Logit Pairing", 2018, arXiv 1803.06373; ALP follows the authors'
released code, CLP and LSQ follow that of Mosbach, Andriushchenko, Trost, Hein, Klakow, "Logit Pairing Methods
Can Fool Gradient-Based Attacks", SECML workshop at NeurIPS 2018, arXiv 1810.12042. They show that CLP and
LSQ mask gradients, and on Tiny-ImageNet also ALP without adversarial cross-entropy; Engstrom, Ilyas, Athalye,
arXiv 1807.10272, show it of ALP with a targeted inner attack. Strong attacks are to find them out here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.pgd import PGD
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import logit_pairing, noisy, smoothed_cross_entropy


@dataclass(frozen=True)
class Alp:
    """Adversarial logit pairing: the logits of clean and adversarial images are drawn together.

    L = CE(z([x; x']), [y; y]) + lambda D(z(x), z(x')), the cross-entropy a mean over both halves.

    One forward over [x; x'], so that BatchNorm sees their joint statistics, and gradients on both sides of
    the pair. With lambda = 0 it is mixed-minibatch PGD, without a pairing term.
    """

    paper: ClassVar[str] = "Kannan et al., Adversarial Logit Pairing, 2018"
    reconstruction: ClassVar[str | None] = None

    weight: float = 0.5  # lambda of the pairing: 0.25 or 0.5 in the released models
    mix: Literal["plain", "50", "100"] = "50"  # cross-entropy of x alone, of both halves, of x' alone
    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255
    target: Literal["none", "least_likely", "random"] = "none"  # a wrong class; the authors: least_likely
    label: Literal["true", "pred"] = "true"  # what an untargeted attack leaves; the authors: pred, of clean x
    distance: Literal["squared", "l2", "l1", "cos"] = "squared"  # of a pair of logits
    reduction: Literal["mean", "sum"] = "mean"  # over the classes: a factor of K (of sqrt K for l2)
    detach_clean: bool = False  # whether only x' learns from the pair
    label_smoothing: float = 0.0  # true class 1 - s + s / K; 0.1 in the released ImageNet models

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        _require_weight(self.weight)
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")
        if self.label == "pred" and self.target != "none":
            raise BadValue(
                f"label is 'pred' with target {self.target!r}, expected 'true' where the attack has a target",
                "--set defense.label=true",
            )

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
            x, y = batch.x, batch.y
            if self.weight == 0 and self.mix == "plain":
                return self.terms(model(x), None, y)
            # with the predicted class as label, the attack does not tell the network the true one
            left = y if self.label == "true" else context.observe(net, x).logits.argmax(dim=1)
            x_adv = context.attack(net, attack, x, left)
            if self.weight == 0 and self.mix == "100":
                return self.terms(None, model(x_adv), y)
            # one forward over both: BatchNorm sees their joint statistics
            clean, adv = model(torch.cat([x, x_adv])).chunk(2)
            return self.terms(clean, adv, y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(self, clean: Tensor | None, adv: Tensor | None, y: Tensor) -> Terms:
        """Every loss term, weighted, of the logits [B, K] of x and of x'; None where no term needs them."""
        # the mean over 2B examples is half of each half's mean
        share = 0.5 if self.mix == "50" else 1.0
        terms = {}
        if clean is not None and self.mix != "100":
            terms["clean"] = share * smoothed_cross_entropy(clean, y, self.label_smoothing, "spread")
        if adv is not None and self.mix != "plain":
            terms["adversarial"] = share * smoothed_cross_entropy(adv, y, self.label_smoothing, "spread")
        if clean is not None and adv is not None and self.weight > 0:
            terms["pairing"] = self.weight * self.pairing(clean, adv)
        return terms

    def pairing(self, clean: Tensor, adv: Tensor) -> Tensor:
        """D: the distance of paired logits, each [B, K], mean over the batch; cos knows no reduction."""
        if self.detach_clean:
            clean = clean.detach()
        if self.distance == "squared":
            return logit_pairing(clean, adv, self.reduction)
        if self.distance == "cos":
            return (1 - F.cosine_similarity(clean.float(), adv.float(), dim=1)).mean()
        order = 1 if self.distance == "l1" else 2
        length: Tensor = torch.linalg.vector_norm(clean.float() - adv.float(), ord=order, dim=1)
        if self.reduction == "mean":
            length = length / clean.shape[1] ** (1 / order)  # of the mean over the classes, not their sum
        return length.mean()

    def _attack(self) -> PGD:
        return PGD(steps=self.steps, step_size=self.step_size, random_start=True, target=self.target)


@dataclass(frozen=True)
class Clp:
    """Clean logit pairing: the logits of unrelated noisy images are drawn together.

    L = CE(z(x), y) + weight MSE(z(first half of x), z(second half of x)), all x with Gaussian noise.

    The pairs are random clean images, of whatever class; nothing is attacked while it trains.
    """

    paper: ClassVar[str] = "Kannan et al., Adversarial Logit Pairing, 2018 (clean logit pairing)"
    reconstruction: ClassVar[str | None] = (
        "the released script leaves the weight on MNIST open; 0.5 is that of its Tiny-ImageNet companion"
    )

    weight: float = 0.5  # of the pairing
    sigma: float = 0.5  # of the noise, in pixel units: 0.5 on MNIST, 16/255 on Tiny-ImageNet

    def __post_init__(self) -> None:
        _require_weight(self.weight)
        _require_sigma(self.sigma)

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""

        def step(model: nn.Module, batch: Batch) -> Terms:
            return self.terms(model(noisy(batch.x, self.sigma, context.generator)), batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is; the noise is for training only."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor, y: Tensor) -> Terms:
        """Every loss term, weighted, of the logits [B, K] of noisy images; an odd one has no partner."""
        half = len(logits) // 2
        pairing = logit_pairing(logits[:half], logits[half : 2 * half])
        return {"clean": F.cross_entropy(logits.float(), y), "pairing": self.weight * pairing}


@dataclass(frozen=True)
class Lsq:
    """Logit squeezing: the logits of noisy images are kept short.

    L = CE(z(x), y) + weight mean_i ||z(x_i)||_2, the norm and not its square, all x with Gaussian noise.

    Nothing is attacked while it trains.
    """

    paper: ClassVar[str] = "Kannan et al., Adversarial Logit Pairing, 2018 (logit squeezing)"
    reconstruction: ClassVar[str | None] = None

    weight: float = 0.5  # of the squeezing: 0.5 on MNIST, 0.05 on Tiny-ImageNet
    sigma: float = 0.5  # of the noise, in pixel units: 0.5 on MNIST, 16/255 on Tiny-ImageNet

    def __post_init__(self) -> None:
        _require_weight(self.weight)
        _require_sigma(self.sigma)

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""

        def step(model: nn.Module, batch: Batch) -> Terms:
            return self.terms(model(noisy(batch.x, self.sigma, context.generator)), batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is; the noise is for training only."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor, y: Tensor) -> Terms:
        """Every loss term, weighted, of the logits [B, K] of noisy images."""
        logits = logits.float()
        length: Tensor = torch.linalg.vector_norm(logits, dim=1)
        return {"clean": F.cross_entropy(logits, y), "squeezing": self.weight * length.mean()}


def _require_weight(weight: float) -> None:
    if weight < 0:
        raise BadValue(f"weight is {weight}, expected a number of at least 0")


def _require_sigma(sigma: float) -> None:
    if sigma < 0:
        raise BadValue(f"sigma is {sigma}, expected a number of at least 0")


M_PGD = Alp(weight=0.0)
"""Mixed-minibatch PGD: cross-entropy of both halves, no pairing; the baseline of the ALP paper."""

ALP_PLAIN = Alp(mix="plain")
"""Cross-entropy of clean images alone, plus pairing: "Plain + ALP" of Mosbach et al."""

ALP_100 = Alp(mix="100")
"""Cross-entropy of adversarial images alone, plus pairing: "100% AT + ALP" of Mosbach et al."""

_: tuple[Defense, ...] = (Alp(), Clp(), Lsq())
