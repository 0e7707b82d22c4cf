"""Feature scattering: one step that moves a batch's outputs as far as optimal transport can tell.

Zhang & Wang, "Defense Against Adversarial Attacks Using Feature Scattering-based Adversarial Training",
NeurIPS 2019, arXiv 1907.10764. Formulas follow the authors' released code, which scatters logits.
"""

from __future__ import annotations

import math
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

_LEAST_SUM = 1e-6
"""Keeps the logarithm of a sum of masses finite, as in the released code."""


@dataclass(frozen=True)
class FeatureScattering:
    """Minimise the smoothed CE(z(x'), y), x' one step from a random start that no label has a say in.

    The step climbs the transport cost <T, C> between the logits of the clean batch and those of the perturbed
    one, jointly over the batch (over each device's share of it, if there are several). As in the released
    code the gradient passes through the iterations that find the plan T, which end when little changes. With
    `detach_plan` T is a constant: that is the gradient of <T, C> - entropy H(T), another direction.
    """

    paper: ClassVar[str] = "Zhang & Wang, Feature Scattering-based Adversarial Training, NeurIPS 2019"
    reconstruction: ClassVar[str | None] = None

    label_smoothing: float = 0.5  # true class 1 - s
    entropy: float = 0.01  # weight of the plan's entropy
    iterations: int = 100  # of Sinkhorn's algorithm, at most
    tolerance: float = 0.1  # they end when the rows' potentials change by less in sum; 0: never
    detach_plan: bool = False  # whether the plan is a constant in the gradient
    steps: int = 1
    step_size: Fraction = Fraction(1)  # of eps
    clip_start: bool = False  # whether the start is cut to [0, 1] before the first gradient; released: after

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")
        if self.entropy <= 0:
            raise BadValue(f"entropy is {self.entropy}, expected a number above 0")
        if self.iterations < 1:
            raise BadValue(f"iterations is {self.iterations}, expected a whole number of at least 1")
        if self.tolerance < 0:
            raise BadValue(f"tolerance is {self.tolerance}, expected a number of at least 0")

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
        loss = partial(
            scattering,
            entropy=self.entropy,
            iterations=self.iterations,
            tolerance=self.tolerance,
            detach_plan=self.detach_plan,
        )
        return Ascent(loss, self.steps, self.step_size, clip_start=self.clip_start)


def scattering(
    logits_adv: Tensor,
    logits: Tensor,
    *,
    entropy: float,
    iterations: int,
    tolerance: float = 0.0,
    detach_plan: bool = False,
) -> Tensor:
    """What each perturbed image [n] adds to the transport cost between two batches of logits [n, K].

    The sum is <T, C>. With a constant plan its gradient is that of the least value of
    <T, C> - entropy H(T), by the envelope theorem; without, it is its own.
    """
    cost = cosine_cost(logits, logits_adv)
    plan = transport_plan(cost.detach() if detach_plan else cost, entropy, iterations, tolerance)
    return (plan * cost).sum(dim=0)


def cosine_cost(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos(a_i, b_j) of the rows of [n, K] and [m, K] -> [n, m]; never below 0, whatever is rounded."""
    return (1 - F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T).clamp(min=0)


def transport_plan(cost: Tensor, entropy: float, iterations: int, tolerance: float = 0.0) -> Tensor:
    """The plan [n, n] between equal masses 1/n that minimises <T, cost> - entropy H(T) (Cuturi, 2013).

    Sinkhorn's algorithm on the potentials u of rows and v of columns, T = exp((u + v - cost) / entropy): both
    are corrected in turn, so columns sum to 1/n, rows the closer the more iterations. It ends early when u
    changes by less than the tolerance in sum. As in the released code sums are kept from 0 by 1e-6.

    >>> transport_plan(Tensor([[0.0, 1.0], [1.0, 0.0]]), entropy=1.0, iterations=9)
    tensor([[0.3655, 0.1345],
            [0.1345, 0.3655]])
    """
    mass = math.log(1 / len(cost))
    u = v = cost.new_zeros(len(cost))

    def missing(dim: int) -> Tensor:
        sums = ((u[:, None] + v[None, :] - cost) / entropy).exp().sum(dim)
        return entropy * (mass - (sums + _LEAST_SUM).log())

    for _ in range(iterations):
        before = u
        u = u + missing(dim=1)
        v = v + missing(dim=0)
        if tolerance and float((u - before).detach().abs().sum()) < tolerance:
            break
    return ((u[:, None] + v[None, :] - cost) / entropy).exp()


_: Defense = FeatureScattering()
