"""AGKD-BML: attention-guided knowledge distillation and bi-directional metric learning.

Wang, Deng, Yoo, Ling, Lin, "AGKD-BML: Defense Against Adversarial Attack by Attention Guided Knowledge
Distillation and Bi-directional Metric Learning", ICCV 2021, arXiv 2108.06017. Formulas follow the authors'
released training script, which trains with 10 attack steps and MART's terms: that is `agkd_bml`. The models
of the paper's tables have fewer steps; its text was not at hand, so their variants are reconstructions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, Features, FitContext, Task, Terms
from bench.attacks.ascent import Ascent
from bench.attacks.losses import most_confusing, towards
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import (
    attention_distance,
    boosted_margin,
    feature_norm,
    smoothed_cross_entropy,
    triplet,
    weighted_divergence,
)


@dataclass(frozen=True)
class AgkdBml:
    """L = L_LS + L_MART + L_AGKD + lam1 L_BML over the images x1, x1' (forward) and x2' (backward).

    x1' is x1 attacked towards t, its most confusing class; x2 is a random training image of class t, and x2'
    is x2 attacked towards the class of x1.
    """

    paper: ClassVar[str] = "Wang et al., AGKD-BML, ICCV 2021"
    reconstruction: ClassVar[str | None] = None

    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255
    clip_start: bool = False  # whether starts are cut to [0, 1] before the first gradient; released: after
    label_smoothing: float = 0.5  # on the forward adversarial image only, true class 1 - s
    mart: bool = True  # MART's margin and robust parts
    beta: float = 6.0  # weight of MART's robust part
    agkd: bool = True  # attention-guided knowledge distillation
    attention_stage: int = -1  # which stage's feature map gives the attention; -1: the last
    attention_on_backward: bool = True  # whether x2' learns the teacher's attention of x2, too
    bml: bool = True  # metric learning
    negative: Literal["backward", "clean"] = "backward"  # clean: x2 itself, the single direction ("SML")
    margin: float = 0.03  # m of the triplet
    lam1: float = 2.0  # weight of the metric part
    lam2: float = 0.001  # weight of the feature norm inside it
    init_from_teacher: bool = True
    teacher: str = "standard[label_smoothing=0.5]"  # natural training with the authors' smoothing

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")
        for name in ("beta", "margin", "lam1", "lam2"):
            if getattr(self, name) < 0:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a number of at least 0")

    @property
    def requires(self) -> Mapping[str, str]:
        """A teacher of the same architecture, trained on clean images and then fixed."""
        return {"teacher": self.teacher}

    def build(self, task: Task) -> nn.Module:
        """The student; the teacher is only needed while it trains."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""
        teacher = context.parents["teacher"]
        attack = self._attack()
        self._check_stage(net, context)
        if self.init_from_teacher:
            net.load_state_dict(teacher.state_dict())

        def step(model: nn.Module, batch: Batch) -> Terms:
            x1, y1 = batch.x, batch.y
            target = most_confusing(context.observe(net, x1).logits, y1)
            x1_adv = context.attack(net, attack, x1, target)
            x2 = context.like(target).x
            x2_adv = context.attack(net, attack, x2, y1) if self.negative == "backward" else x2
            # one forward over all three: BatchNorm sees their joint statistics
            joint = model.forward_features(torch.cat([x1_adv, x1, x2_adv]))  # type: ignore[operator]
            taught = context.observe(teacher, torch.cat([x1, x2])) if self.agkd else None
            return self.terms(joint, taught, y1)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The student as it is."""
        return Deployed(predict=net)

    def terms(self, student: Features, teacher: Features | None, y: Tensor) -> Terms:
        """Every loss term, weighted.

        `student` holds [x1'; x1; x2'] (3B images), `teacher` [x1; x2] (2B; None without distillation), y [B].
        """
        logits_adv, logits, _ = student.logits.chunk(3)
        terms = {"smoothed": smoothed_cross_entropy(logits_adv, y, self.label_smoothing, "shared")}
        if self.mart:
            terms["mart_margin"] = boosted_margin(logits_adv, y)
            terms["mart_robust"] = self.beta * weighted_divergence(logits, logits_adv, y)
        if teacher is not None:
            map_adv, _, map_backward = student.stages[self.attention_stage].chunk(3)
            map_x1, map_x2 = teacher.stages[self.attention_stage].chunk(2)
            terms["attention_forward"] = attention_distance(map_adv, map_x1)
            if self.attention_on_backward:
                terms["attention_backward"] = attention_distance(map_backward, map_x2)
        if self.bml:
            anchor, positive, negative = student.features.chunk(3)
            terms["triplet"] = self.lam1 * triplet(anchor, positive, negative, self.margin)
            terms["norm"] = self.lam1 * self.lam2 * feature_norm(anchor, positive, negative)
        return terms

    def _check_stage(self, net: nn.Module, context: FitContext) -> None:
        blank = torch.zeros(2, *context.task.image_shape, device=context.device)
        stages = len(context.observe(net, blank).stages)
        if not -stages <= self.attention_stage < stages:
            raise BadValue(
                f"attention_stage is {self.attention_stage}, but {context.task.architecture} has {stages} "
                f"stages, expected 0 to {stages - 1}, or -1 for the last",
                "--set defense.attention_stage=-1",
            )

    def _attack(self) -> Ascent:
        return Ascent(towards, self.steps, self.step_size, clip_start=self.clip_start)


@dataclass(frozen=True)
class AgkdBmlInTables(AgkdBml):
    """The same with the few attack steps that the models of the paper's tables had, without MART's terms."""

    reconstruction: ClassVar[str | None] = (
        "the paper's text was not at hand: its attack steps are second-hand, that it has no MART is a guess"
    )

    steps: int = 7
    mart: bool = False


AGKD_BML_RELEASED = AgkdBml()
"""The authors' released script by another name: 10 steps of 2/255, with MART."""

AGKD_BML_7 = AgkdBmlInTables()
"""The paper's 7-step variant: 7 steps of 2/255."""

AGKD_BML_PAPER = AgkdBmlInTables(steps=2, step_size=Fraction(1, 2))
"""The paper's main model as far as it is known: 2 steps, here of 4/255."""

_: tuple[Defense, ...] = (AgkdBml(), AgkdBmlInTables())
