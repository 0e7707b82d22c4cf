"""ARD: a student learns a robust teacher's clean answers on adversarial images.

Goldblum, Fowl, Feizi, Goldstein, "Adversarially Robust Distillation", AAAI 2020, arXiv 1905.09747. Formulas
follow the authors' released code, but for the choices that the class names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import AttackMode, Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.attacks.losses import cross_entropy
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import divergence

Reduction = Literal["batch", "elements"]


@dataclass(frozen=True)
class Ard:
    """Minimise alpha t^2 KL(teacher(x) / t || student(x') / t) + (1 - alpha) CE(student(x), y).

    The arguments of KL are logits, softened by t; x' are the images that raise the student's own
    cross-entropy. One thing differs from the released code: it averages KL over examples and classes, K times
    less than the paper's objective, which is the default here. As released, the student is attacked as it
    trains, and clean images go through it where alpha is 1, too, which only moves BatchNorm's statistics.
    """

    paper: ClassVar[str] = "Goldblum et al., Adversarially Robust Distillation, AAAI 2020"
    reconstruction: ClassVar[str | None] = None

    alpha: float = 1.0  # weight of the distillation; the labels have 1 - alpha
    t: float = 30.0  # temperature
    reduction: Reduction = "batch"  # batch: mean over examples; elements: over classes, too (released code)
    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255
    clip_start: bool = False  # whether the start is cut to [0, 1] before the first gradient; released: after
    attack_mode: AttackMode = "train"  # as released
    clean_forward: bool = True  # whether clean images move BatchNorm's statistics if labels play no part
    teacher: str = "pgd_at"  # a robust one

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if not 0 < self.alpha <= 1:
            raise BadValue(f"alpha is {self.alpha}, expected a share above 0 and at most 1")
        if self.t <= 0:
            raise BadValue(f"t is {self.t}, expected a temperature above 0")

    @property
    def requires(self) -> Mapping[str, str]:
        """A robust teacher of the same architecture."""
        return {"teacher": self.teacher}

    def build(self, task: Task) -> nn.Module:
        """The student; the teacher is only needed while it trains."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        teacher = context.parents["teacher"]
        attack = self._attack()

        def step(model: nn.Module, batch: Batch) -> Terms:
            x_adv = context.attack(net, attack, batch.x, batch.y, mode=self.attack_mode)
            taught = context.observe(teacher, batch.x).logits
            return self.terms(model(x_adv), self._clean(model, batch.x), taught, batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The student as it is."""
        return Deployed(predict=net)

    def terms(self, logits_adv: Tensor, logits: Tensor | None, taught: Tensor, y: Tensor) -> Terms:
        """Every loss term, weighted.

        Of logits [B, K]: the student's of x' and of x (None: without labels), the teacher's of x.
        """
        softened = divergence(taught.detach() / self.t, logits_adv / self.t).mean()
        classes = taught.shape[1] if self.reduction == "elements" else 1
        terms = {"distillation": self.alpha * self.t**2 * softened / classes}
        if logits is not None:
            terms["clean"] = (1 - self.alpha) * F.cross_entropy(logits.float(), y)
        return terms

    def _clean(self, model: nn.Module, x: Tensor) -> Tensor | None:
        """Logits [B, K] of clean images, where a term needs them."""
        if self.alpha < 1:
            logits: Tensor = model(x)
            return logits
        if self.clean_forward:
            with torch.no_grad():
                model(x)
        return None

    def _attack(self) -> Ascent:
        return Ascent(cross_entropy, self.steps, self.step_size, clip_start=self.clip_start)


_: Defense = Ard()
