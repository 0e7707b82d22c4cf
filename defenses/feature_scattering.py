"""Feature scattering: one step that moves a batch's outputs as far as optimal transport can tell.

Zhang & Wang, "Defense Against Adversarial Attacks Using Feature Scattering-based Adversarial Training",
NeurIPS 2019, arXiv 1907.10764. Formulas follow the authors' released code, which scatters logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import smoothed_cross_entropy


@dataclass(frozen=True)
class FeatureScattering:
    """Minimise the smoothed CE(z(x'), y), x' one step from a random start that no label has a say in.

    The step climbs the entropic optimal-transport distance between the logits of the clean batch and those of
    the perturbed one, jointly over the batch (over each device's share of it, if there are several). By the
    envelope theorem the transport plan is a constant in its gradient; the released code differentiates
    through the plan's iterations, too, and ends them early by a threshold, where here their number is fixed.
    """

    paper: ClassVar[str] = "Zhang & Wang, Feature Scattering-based Adversarial Training, NeurIPS 2019"
    reconstruction: ClassVar[str | None] = None

    label_smoothing: float = 0.5  # true class 1 - s
    entropy: float = 0.01  # weight of the plan's entropy
    iterations: int = 20  # of Sinkhorn's algorithm; the authors': until little changes, at most 100
    steps: int = 1
    step_size: Fraction = Fraction(1)  # of eps

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")
        if self.entropy <= 0:
            raise BadValue(f"entropy is {self.entropy}, expected a number above 0")
        if self.iterations < 1:
            raise BadValue(f"iterations is {self.iterations}, expected a whole number of at least 1")

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
            x_adv = context.attack(net, attack, batch.x, clean)
            return self.terms(model(x_adv), batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(self, logits_adv: Tensor, y: Tensor) -> Terms:
        """The one loss term, of logits [B, K] of x'."""
        return {"adversarial": smoothed_cross_entropy(logits_adv, y, self.label_smoothing, "shared")}

    def _attack(self) -> Ascent:
        loss = partial(scattering, entropy=self.entropy, iterations=self.iterations)
        return Ascent(loss=loss, steps=self.steps, step_size=self.step_size, start="uniform")


def scattering(logits_adv: Tensor, logits: Tensor, *, entropy: float, iterations: int) -> Tensor:
    """What each perturbed image [n] adds to the transport distance between two batches of logits [n, K].

    The sum is the distance; its gradient is that of the least value of <plan, cost> - entropy H(plan).
    """
    cost = cosine_cost(logits, logits_adv)
    return (transport_plan(cost.detach(), entropy, iterations) * cost).sum(dim=0)


def cosine_cost(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos(a_i, b_j) of the rows of [n, K] and [m, K] -> [n, m]."""
    return 1 - F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T


def transport_plan(cost: Tensor, entropy: float, iterations: int) -> Tensor:
    """The plan [n, n] between equal masses 1/n that minimises <plan, cost> - entropy H(plan) (Cuturi, 2013).

    Sinkhorn's algorithm in the log domain: rows and columns are scaled in turn, so columns sum to 1/n
    exactly, rows the closer the more iterations. Nothing waits for the device.

    >>> transport_plan(Tensor([[0.0, 1.0], [1.0, 0.0]]), entropy=1.0, iterations=9)
    tensor([[0.3655, 0.1345],
            [0.1345, 0.3655]])
    """
    log_plan = -cost / entropy
    for _ in range(iterations):
        log_plan = log_plan.log_softmax(dim=1).log_softmax(dim=0)
    return log_plan.exp() / len(cost)


_: Defense = FeatureScattering()
