"""AALP: adaptive adversarial logit pairing, with guided dropout and sample weights.

Wu, Sang, Xu, Zheng, Xu, "Adaptive Adversarial Logits Pairing", 2020, arXiv 2005.11904; ACM Transactions on
Multimedia Computing, Communications and Applications, 2024. Only the abstract could be had. It says that a
guided dropout makes the network rely on fewer features of high contribution, and that sample weights relieve
those samples where pairing obstructs classification. The rules for both are reconstructed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.attacks.losses import most_confusing
from bench.attacks.pgd import PGD
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.head import head
from bench.train.loop import fit_classifier

Dropout = Literal["guided", "reverse", "random", "none"]
"""Which share rho of the features is never dropped.

`guided`: the strongest, so that few of them must suffice; `reverse`: the weakest, as a control; `random`:
any, at the same rate; `none`: all.
"""

Contribution = Literal["true_class", "abs", "margin"]
"""What makes a feature j of a sample strong, with c its most confusing class.

`true_class`: h_j W_yj, what it adds to the true logit; `abs`: the size of that; `margin`: h_j (W_yj - W_cj).
"""

Weighting = Literal["adversarial", "clean", "correct", "loss", "none"]
"""What says how well a sample is fit, g in [0, 1]; a misfit one is paired less.

`adversarial`: p_y(x'); `clean`: p_y(x); `correct`: whether x' is classified correctly; `loss`: 1 - CE(x')
over the largest CE(x') of the batch; `none`: all are paired alike.
"""


@dataclass(frozen=True)
class Aalp:
    """L = CE(z~(x), y) / 2 + CE(z~(x'), y) / 2 + lambda mean_i w_i MSE(z~(x_i), z~(x'_i)).

    z~ = W (m * h) + b are the logits of the penultimate features h under a mask m of guided dropout, and
    w_i = g_i^gamma is small where a sample is misfit. The deployed network has no mask: randomness at test
    time would hide its gradients. With nothing dropped and all w = 1 it is ALP.
    """

    paper: ClassVar[str] = "Wu et al., Adaptive Adversarial Logits Pairing, 2020"
    reconstruction: ClassVar[str | None] = (
        "only the abstract could be had: which features guided dropout drops, what the sample weights are "
        "made of and all hyper-parameters are chosen here"
    )

    dropout: Dropout = "guided"
    rho: float = 0.5  # share of each image's features that is never dropped; 1: as dropout=none
    q: float = 0.5  # probability that one of the others is dropped; 1: hard top-k
    contribution: Contribution = "true_class"
    mask_of: Literal["clean", "own"] = "clean"  # whether x' shares the mask of x, or has its own
    rescale: bool = True  # whether survivors grow by 1 / (1 - q), which preserves the expected activation
    weighting: Weighting = "adversarial"
    gamma: float = 1.0  # exponent of g
    normalize_weights: bool = True  # to mean 1, so that lambda keeps its meaning
    weight: float = 0.5  # lambda of the pairing, as in ALP
    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255
    attack_with_mask: bool = False  # whether the inner attack sees the mask of x, too

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        for name in ("rho", "q"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a share from 0 to 1")
        for name in ("gamma", "weight"):
            if getattr(self, name) < 0:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a number of at least 0")
        if self.rho == 0 and self.q == 1:
            raise BadValue(
                "rho is 0 with q=1, which drops all features, expected a rho above 0 or a q below 1"
            )
        if self.attack_with_mask and self.mask_of == "own":
            raise BadValue(
                "attack_with_mask is True with mask_of 'own', expected 'clean': x' has no mask of its own "
                "before it is made",
                "--set defense.mask_of=clean",
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
        last = head(net, context.task.num_classes)
        attack, drops = self._attack(), self.dropout != "none" and self.rho < 1 and self.q > 0
        features_of, masked_attack = Penultimate(net), self._masked_attack(last)

        def step(model: nn.Module, batch: Batch) -> Terms:
            x, y = batch.x, batch.y
            mask = None
            if drops and self.attack_with_mask:
                seen = context.observe(net, x)
                mask = self.mask(seen.features, seen.logits, y, last.weight, context.generator)
                x_adv = context.attack(features_of, masked_attack, x, y, mask)
            else:
                x_adv = context.attack(net, attack, x, y)
            # as in ALP, one forward over both: BatchNorm sees their joint statistics
            joint = model.forward_features(torch.cat([x, x_adv]))  # type: ignore[operator]
            if not drops:
                return self.terms(joint.logits, y)
            if mask is None:
                masked, labels = (len(x), y) if self.mask_of == "clean" else (2 * len(x), y.repeat(2))
                mask = self.mask(
                    joint.features[:masked], joint.logits[:masked], labels, last.weight, context.generator
                )
            return self.terms(masked_logits(joint.features, mask, last), y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is, without a mask."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor, y: Tensor) -> Terms:
        """Every loss term, weighted, of the logits [2B, K] of [x; x'] under their masks."""
        clean, adv = logits.float().chunk(2)
        terms = {"clean": 0.5 * F.cross_entropy(clean, y), "adversarial": 0.5 * F.cross_entropy(adv, y)}
        if self.weight > 0:
            distance = (clean - adv).square().mean(dim=1)
            terms["pairing"] = self.weight * (self.sample_weights(clean, adv, y) * distance).mean()
        return terms

    @torch.no_grad()
    def mask(
        self, features: Tensor, logits: Tensor, y: Tensor, weight: Tensor, generator: Generator
    ) -> Tensor:
        """What features [n, D] are multiplied with; `weight` [K, D] is the last layer's."""
        if self.dropout == "random":
            strength = torch.rand(features.shape, generator=generator, device=features.device)
        else:
            strength = contributions(features, logits, y, weight, self.contribution)
            if self.dropout == "reverse":
                strength = -strength
        count = math.ceil(self.rho * features.shape[1] - 1e-9)  # at least one, unless rho is 0
        safe = strength.topk(count, dim=1, sorted=False).indices
        chance = torch.rand(features.shape, generator=generator, device=features.device)
        survivor = 1 / (1 - self.q) if self.rescale and self.q < 1 else 1.0
        return ((chance >= self.q) * survivor).scatter_(1, safe, 1.0)

    @torch.no_grad()
    def sample_weights(self, clean: Tensor, adv: Tensor, y: Tensor) -> Tensor:
        """w [B] of the logits [B, K] of x and x'; all zero where every sample is misfit."""
        if self.weighting == "none":
            return torch.ones(len(y), device=adv.device)
        if self.weighting == "correct":
            fit = (adv.argmax(dim=1) == y).float()
        elif self.weighting == "loss":
            losses = F.cross_entropy(adv, y, reduction="none")
            fit = 1 - losses / losses.amax().clamp(min=_TINY)
        else:
            logits = clean if self.weighting == "clean" else adv
            fit = logits.softmax(dim=1).gather(1, y[:, None]).squeeze(1)
        weights = fit**self.gamma
        return weights / weights.mean().clamp(min=_TINY) if self.normalize_weights else weights

    def _attack(self) -> PGD:
        return PGD(steps=self.steps, step_size=self.step_size, random_start=True)

    def _masked_attack(self, last: nn.Linear) -> Ascent:
        # the mask goes to the loss as one more label: the attacked network holds no state that could go stale
        def loss(features: Tensor, y: Tensor, mask: Tensor) -> Tensor:
            return F.cross_entropy(masked_logits(features, mask, last), y, reduction="none")

        return Ascent(loss=loss, steps=self.steps, step_size=self.step_size)


class Penultimate(nn.Module):
    """A network up to its features [n, D]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Features [n, D] of images x [n, C, H, W]."""
        features: Tensor = self.net.forward_features(x).features  # type: ignore[operator]
        return features


def contributions(
    features: Tensor, logits: Tensor, y: Tensor, weight: Tensor, kind: Contribution = "true_class"
) -> Tensor:
    """How much each feature [n, D] speaks for the true class y [n]; `weight` [K, D] is the last layer's.

    With `true_class` the sum over the features and the bias of y are exactly the true logit.
    """
    direction = weight[y]
    if kind == "margin":
        direction = direction - weight[most_confusing(logits, y)]
    contribution = features * direction
    return contribution.abs() if kind == "abs" else contribution


def masked_logits(features: Tensor, mask: Tensor, last: nn.Linear) -> Tensor:
    """The logits of features [n, D] under a mask [n, D], or under one [n / 2, D] that both halves share."""
    masked = features.reshape(-1, *mask.shape) * mask
    return F.linear(masked.flatten(0, 1), last.weight, last.bias)


_TINY = torch.finfo(torch.float32).tiny  # keeps a division by zero at zero

_: Defense = Aalp()
