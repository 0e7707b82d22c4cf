"""LBGAT: a robust network follows the logits of a natural one that learns beside it.

Cui, Liu, Wang, Jia, "Learnable Boundary Guided Adversarial Training", ICCV 2021, arXiv 2011.11164. Formulas
follow the authors' released code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.errors import BadValue
from bench.nn.architectures import module_of, network
from bench.train.loop import fit_classifier
from defenses.losses import away, divergence


@dataclass(frozen=True)
class Lbgat:
    """Minimise MSE(s(x'), g(x)) + CE(g(x), y) + beta KL(p_s(x) || p_s(x')) over a student s and a guide g.

    s and g are logits; the squares are a mean over batch and classes, and their gradient reaches the guide,
    too. x' are the images that make the student's divergence largest. The student sees x even where beta is
    0, as in the released code: no gradient comes of it, but BatchNorm's running statistics do. The student
    alone is deployed.
    """

    paper: ClassVar[str] = "Cui et al., Learnable Boundary Guided Adversarial Training, ICCV 2021"
    reconstruction: ClassVar[str | None] = None

    beta: float = 0.0  # of the divergence; the authors' CIFAR-10: 0 (LBGAT0), their CIFAR-100: 0 and 6
    guide: str = ""  # the guide's architecture, the authors': resnet18; empty: the student's
    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps; the authors': 0.007 of 0.031
    clip_start: bool = False  # whether the start is cut to [0, 1] before the first gradient; released: after

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if self.beta < 0:
            raise BadValue(f"beta is {self.beta}, expected a number of at least 0")
        if self.guide:
            module_of(self.guide)  # says what is wrong with a name

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before: the guide learns beside the student."""
        return {}

    @property
    def modules(self) -> tuple[str, ...]:
        """The code of the guide's architecture."""
        return (module_of(self.guide),) if self.guide else ()

    def build(self, task: Task) -> nn.Module:
        """Student and guide."""
        beside = dataclasses.replace(task, architecture=self.guide or task.architecture)
        return Guided(network(task), network(beside))

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train both in place."""
        student, attack = cast(Guided, net).student, self._attack()
        guide = context.part(cast(Guided, net).guide)

        def step(model: nn.Module, batch: Batch) -> Terms:
            clean = context.observe(student, batch.x).logits
            x_adv = context.attack(student, attack, batch.x, clean)
            logits_adv = model(x_adv)
            with torch.set_grad_enabled(self.beta > 0):
                logits = model(batch.x)
            return self.terms(logits_adv, logits, guide(batch.x), batch.y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The student as it is."""
        return Deployed(predict=cast(Guided, net).student)

    def terms(self, logits_adv: Tensor, logits: Tensor, guide: Tensor, y: Tensor) -> Terms:
        """Every loss term, weighted, of logits [B, K]: the student's of x' and of x, the guide's of x."""
        terms = {
            "boundary": F.mse_loss(logits_adv.float(), guide.float()),
            "guide": F.cross_entropy(guide.float(), y),
        }
        if self.beta:
            terms["robust"] = self.beta * divergence(logits, logits_adv).mean()
        return terms

    def _attack(self) -> Ascent:
        return Ascent(away, self.steps, self.step_size, "gaussian", self.clip_start)


class Guided(nn.Module):
    """A classifier, and the one that it follows while it trains."""

    def __init__(self, student: nn.Module, guide: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.guide = guide

    def forward(self, x: Tensor) -> Tensor:
        """The student's logits [n, K] of x [n, C, H, W]."""
        logits: Tensor = self.student(x)
        return logits


_: Defense = Lbgat()
