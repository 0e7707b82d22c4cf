"""TLA: triplet loss adversarial training, which learns a metric for robustness.

Mao, Zhong, Yang, Vondrick, Ray, "Metric Learning for Adversarial Robustness", NeurIPS 2019, arXiv 1909.00900.
Formulas and defaults follow the authors' released training script and its CIFAR-10 configuration; that one
goes on from a network trained by PGD, which is optional here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, Features, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.attacks.geometry import random_start
from bench.core.threat import Budget
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import (
    angular_distance,
    divergence,
    feature_norm,
    hardest_negatives,
    smoothed_cross_entropy,
)


@dataclass(frozen=True)
class Tla:
    """L = CE(x', y) + lam1 sum_p [mean [m + d(x', p) - d(x', n)]_+ + lam2 L_norm(x', p, n)] + match L_match.

    x' is x attacked. The positives p are A, which is x itself with a little noise, and A1, another training
    image of the class of x; the negative n is B, a clean image of another class: of a random pool the one
    whose features are nearest to those of x'. All distances are of penultimate features h. Without lam1 and
    match it is adversarial training by PGD.
    """

    paper: ClassVar[str] = "Mao et al., Metric Learning for Adversarial Robustness, NeurIPS 2019"
    reconstruction: ClassVar[str | None] = None

    steps: int = 7  # MNIST: 40
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255; MNIST: 1/30
    positives: Literal["both", "own", "other"] = "both"  # A and A1, A alone, A1 alone (MNIST)
    negative: Literal["nearest", "random"] = "nearest"  # random: any image of a random other class ("TLA-RN")
    pool: int = 500  # clean images to find the nearest among; MNIST: 50; shrink it for small networks
    anchor: Literal["adversarial", "clean"] = "adversarial"  # clean: p is the anchor of x' and n ("TLA-SA")
    distance: Literal["cos", "l2", "kl"] = "cos"  # 1 - |cos|; squared length; symmetric KL after a softmax
    margin: float = 0.03  # m; MNIST: 0.05; the released configurations say 1 with l2 and 5 with kl
    lam1: float = 2.0  # weight of each positive's triplet and norm; MNIST: 0.5
    lam2: float = 0.001  # weight of the norm inside it; MNIST: 0.0001
    match: float = 0.0  # weight of |h(x') - h(A)|^2, logit pairing on features; Tiny-ImageNet: 0.5
    noise: Fraction = Fraction(1)  # of eps: how far A may be from x
    label_smoothing: float = 0.0  # true class 1 - s + s/K, in the attack, too; MNIST: 0.1
    init_from_at: bool = False  # go on from the network that `at` names
    at: str = "pgd_at[steps=7]"

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")
        if self.pool < 1:
            raise BadValue(f"pool is {self.pool}, expected a whole number of at least 1", "pool=500")
        for name in ("margin", "lam1", "lam2", "match", "noise"):
            if getattr(self, name) < 0:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a number of at least 0")
        if self.match and self.positives == "other":
            raise BadValue(
                f"match is {self.match} with positives 'other', expected both or own: it pairs x' with A",
                "positives=both",
            )

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing, or the network that training goes on from."""
        return {"start": self.at} if self.init_from_at else {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        attack = self._attack()
        if self.init_from_at:
            net.load_state_dict(context.parents["start"].state_dict())

        def step(model: nn.Module, batch: Batch) -> Terms:
            x, y = batch.x, batch.y
            x_adv = context.attack(net, attack, x, y)
            if not self.lam1 and not self.match:
                return {"adversarial": self._cross_entropy(model(x_adv), y)}
            negative = self._negatives(net, context, x_adv, y) if self.lam1 else None
            # a forward for each branch, so that each has BatchNorm statistics of its own
            return self.terms(
                model.forward_features(x_adv),  # type: ignore[operator]
                y,
                own=_features(model, self._noisy(x, context)) if self.positives != "other" else None,
                other=_features(model, context.like(y).x) if self.lam1 and self.positives != "own" else None,
                negative=None if negative is None else _features(model, negative.x),
                apart=None if negative is None else negative.y != y,
            )

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(
        self,
        adversarial: Features,
        y: Tensor,
        own: Tensor | None = None,
        other: Tensor | None = None,
        negative: Tensor | None = None,
        apart: Tensor | None = None,
    ) -> Terms:
        """Every loss term, weighted, from what x' gives and from the features [B, D] of A, A1 and B.

        `apart` [B] says where the negative is of another class; elsewhere there is no triplet.
        """
        h = adversarial.features
        terms = {"adversarial": self._cross_entropy(adversarial.logits, y)}
        for name, positive in (("own", own), ("other", other)):
            if positive is None or negative is None:
                continue
            anchor, partner = (h, positive) if self.anchor == "adversarial" else (positive, h)
            distance = _DISTANCES[self.distance]
            hinge = F.relu(self.margin + distance(anchor, partner) - distance(anchor, negative))
            terms[f"triplet_{name}"] = self.lam1 * (hinge if apart is None else hinge * apart).mean()
            terms[f"norm_{name}"] = self.lam1 * self.lam2 * feature_norm(anchor, partner, negative)
        if self.match and own is not None:
            terms["match"] = self.match * squared_distance(h, own).mean()
        return terms

    def _cross_entropy(self, logits: Tensor, y: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, y, self.label_smoothing, "spread")

    def _negatives(self, net: nn.Module, context: FitContext, x_adv: Tensor, y: Tensor) -> Batch:
        """A clean training image for each of x' [B].

        In a pool so small that all of it is of an anchor's own class, the image found is, too.
        """
        if self.negative == "random":
            # the released switch takes any images, also of the same class; the paper's negatives never are
            classes = context.task.num_classes
            shift = torch.randint(1, classes, y.shape, generator=context.generator, device=y.device)
            return context.like((y + shift) % classes)
        pool = context.draw(self.pool)
        seen = context.observe(net, torch.cat([x_adv, pool.x])).features
        nearest = hardest_negatives(seen[: len(y)], seen[len(y) :], y, pool.y)
        return Batch(pool.x[nearest], pool.y[nearest], pool.ids[nearest])

    def _noisy(self, x: Tensor, context: FitContext) -> Tensor:
        if not self.noise:
            return x
        budget = Budget(context.budget.norm, context.budget.eps * self.noise)
        # rounded to bytes, as for CIFAR-10; the script rounds MNIST to black and white, but never uses that
        return random_start(x, budget, context.generator).mul_(255).round_().div_(255)

    def _attack(self) -> Ascent:
        def smoothed(logits: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(logits, y, reduction="none", label_smoothing=self.label_smoothing)

        return Ascent(smoothed, self.steps, self.step_size)


def _features(model: nn.Module, x: Tensor) -> Tensor:
    features: Tensor = model.forward_features(x).features  # type: ignore[operator]
    return features


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|^2 for each row of [B, D] -> [B].

    >>> squared_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).item()
    25.0
    """
    return (a.float() - b.float()).square().sum(dim=1)


def symmetric_divergence(a: Tensor, b: Tensor) -> Tensor:
    """The mean of both KL divergences of softmax(a) and softmax(b), for each row of [B, D] -> [B].

    >>> a = torch.tensor([[1.0, 2.0]])
    >>> symmetric_divergence(a, a + 5).item()
    0.0
    """
    return (divergence(a, b) + divergence(b, a)) / 2


_DISTANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cos": angular_distance,
    "l2": squared_distance,
    "kl": symmetric_divergence,
}

TLA_FROM_AT = Tla(init_from_at=True)
"""TLA as its released configuration for CIFAR-10 runs it: training goes on from a network trained by PGD."""

TLA_SA = Tla(anchor="clean")
"""TLA-SA, the switched anchor: the clean image is the anchor, the adversarial one its positive."""

TLA_RN = Tla(negative="random")
"""TLA-RN, the random negative: any clean image of another class."""

_: Defense = Tla()
