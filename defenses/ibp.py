"""Interval bound propagation: training against the worst logits that intervals through the network allow.

Gowal, Dvijotham, Stanforth, Bunel, Qin, Uesato, Arandjelovic, Mann, Kohli, "On the Effectiveness of Interval
Bound Propagation for Training Verifiably Robust Models", 2018, arXiv 1810.12715 (ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.core.threat import Norm
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.bounds.intervals import box_around, worst_logits
from bench.nn.bounds.steps import NotBounded, Steps
from bench.train.loop import fit_classifier


@dataclass(frozen=True)
class Ibp:
    """Minimise k CE(z(x), y) + (1 - k) CE(z', y), z' the worst logits of the box around x (equation 11).

    For a share `warm_up` of the steps k is 1; during the share `ramp` after it, the box grows from nothing to
    the whole radius and k falls to `kappa`, both linearly. The radius is that of training (--train-eps): the
    authors train with more than they certify. Budgets other than Linf are held in the box that contains them.
    """

    paper: ClassVar[str] = (
        "Gowal et al., On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust "
        "Models, 2018"
    )
    reconstruction: ClassVar[str | None] = None

    kappa: float = 0.5  # weight of the clean images at the end
    warm_up: float = 0.1  # share of the steps; the authors' MNIST: 2,000 of 60,000
    ramp: float = 0.6  # share of the steps; the authors' MNIST: 10,000 of 60,000, too fast for short recipes

    def __post_init__(self) -> None:
        for name in ("kappa", "warm_up", "ramp"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a share in [0, 1]")
        if self.warm_up + self.ramp > 1:
            told = f"warm_up is {self.warm_up:.3g} and ramp {self.ramp:.3g}"
            raise BadValue(
                f"{told}, expected a sum of at most 1, for both are shares of the steps", "ramp=0.5"
            )

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place; the last epoch stays, for until the ramp is over bounds say nothing."""
        if context.budget.norm is Norm.L0:
            raise BadValue(
                "ibp is trained on boxes, and under L0 that of any radius holds every image, expected Linf",
                "--norm Linf --eps 0.1",
            )
        steps = _steps(net)

        def step(model: nn.Module, batch: Batch) -> Terms:
            done = self.share(context.elapsed)
            images = box_around(batch.x, context.budget, done)
            return self.terms(*worst_logits(steps, batch.x, batch.y, images), batch.y, done)

        try:
            fit_classifier(net, context, step, keep="last")
        except NotBounded as reason:
            raise _unbounded(reason) from None

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor, worst: Tensor, y: Tensor, done: float = 1.0) -> Terms:
        """Both loss terms, weighted, of logits [B, K] and the worst ones, with so much of the ramp done."""
        kappa = 1 - done * (1 - self.kappa)
        terms = {"clean": kappa * F.cross_entropy(logits.float(), y)}
        if kappa < 1:
            terms["worst"] = (1 - kappa) * F.cross_entropy(worst.float(), y)
        return terms

    def share(self, elapsed: Fraction) -> float:
        """How much of the ramp is done, when so much of the steps lies behind.

        >>> Ibp(warm_up=0.25, ramp=0.5).share(Fraction(1, 2)), Ibp(ramp=0).share(Fraction(1, 2))
        (0.5, 1.0)
        """
        above = float(elapsed) - self.warm_up
        if above < 0:
            return 0.0
        return min(1.0, above / self.ramp) if self.ramp else 1.0


def _steps(net: nn.Module) -> Steps:
    try:
        return Steps(net)
    except NotBounded as reason:
        raise _unbounded(reason) from None


def _unbounded(reason: NotBounded) -> BadValue:
    return BadValue(f"ibp cannot bound this network ({reason}), expected another", "--arch small_cnn")


_: Defense = Ibp()
