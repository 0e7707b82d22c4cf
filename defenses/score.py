"""SCORE: TRADES with squared distances of probabilities, which obey the triangle inequality up to a root.

Pang, Lin, Yang, Zhu, Yan, "Robustness and Accuracy Could Be Reconcilable by (Proper) Definition", ICML 2022,
arXiv 2202.10103. Formulas follow the authors' released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import AttackMode, Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import smoothed_labels


@dataclass(frozen=True)
class Score:
    """Minimise |p(x) - e_y|^2 + beta [|p(x') - p(x)|^2 - clip]_+, x' the images that make the latter largest.

    Squares are summed over classes, with a mean over the batch; e_y is the label, smoothed if it is asked
    for. Gradients flow through both arguments. As released, the attack and the p(x) that it leaves have the
    statistics of the batch, and the running ones do not move meanwhile. The authors' networks saw a million
    generated images (`--extra`) and are averages of weights.
    """

    paper: ClassVar[str] = (
        "Pang et al., Robustness and Accuracy Could Be Reconcilable by (Proper) Definition, ICML 2022"
    )
    reconstruction: ClassVar[str | None] = None

    beta: float = 3.0  # weight of the second distance; the authors' published networks: 3, their example: 4
    clip: float = 0.0  # of the second distance of each image, what is not punished
    label_smoothing: float = 0.0  # share of the label that the other classes get together
    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255
    clip_start: bool = True  # whether the start is cut to [0, 1] before the first gradient, as released
    attack_mode: AttackMode = "batch"  # as released

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        for name in ("beta", "clip"):
            if getattr(self, name) < 0:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a number of at least 0")
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")

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
            clean = context.observe(net, batch.x, self.attack_mode).logits
            x_adv = context.attack(net, attack, batch.x, clean, mode=self.attack_mode)
            return self.terms(model(batch.x), model(x_adv), batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)

    def terms(self, logits: Tensor, logits_adv: Tensor, y: Tensor) -> Terms:
        """Both loss terms, weighted, of logits [B, K] of x and of x'."""
        labels = smoothed_labels(y, logits.shape[1], self.label_smoothing, "shared")
        clean = (logits.float().softmax(dim=1) - labels).square().sum(dim=1)
        robust = F.relu(squared_distance(logits_adv, logits) - self.clip)
        return {"clean": clean.mean(), "robust": self.beta * robust.mean()}

    def _attack(self) -> Ascent:
        return Ascent(squared_distance, self.steps, self.step_size, "uniform", self.clip_start)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """|softmax(a) - softmax(b)|^2 for each row of logits [n, K], [n]; at most 2."""
    return (a.float().softmax(dim=1) - b.float().softmax(dim=1)).square().sum(dim=1)


_: Defense = Score()
