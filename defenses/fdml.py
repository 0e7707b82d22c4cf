"""FDML: feature distillation and metric learning on the middle layers of a network.

"Defense against adversarial attack by feature distillation and metric learning", known from its abstract
alone; authors, venue and year (about 2022) could not be found. What the abstract leaves open follows its
nearest relatives: AGKD-BML (ICCV 2021) for what is distilled and confused, TLA (NeurIPS 2019) for the metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, Features, FitContext, Task, Terms
from bench.attacks.losses import most_confusing
from bench.attacks.pgd import PGD
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.pooling import average
from bench.train.loop import fit_classifier
from defenses.losses import (
    angular_distance,
    attention_distance,
    feature_norm,
    hardest_negatives,
    smoothed_cross_entropy,
)

Distillation = Literal["mse", "l2norm", "cos", "attention"]


@dataclass(frozen=True)
class Fdml:
    """L = CE(x', y) + alpha L_FD + beta L_ML + lam_n L_norm.

    L_FD brings the student's features of x', the attacked image, to those that a fixed teacher has of x. L_ML
    is a triplet: x' shall be nearer to x than to c, the confused sample, by a margin. Both are sums over
    stages. Without alpha and beta it is adversarial training by PGD.
    """

    paper: ClassVar[str] = (
        "Defense against adversarial attack by feature distillation and metric learning, about 2022"
    )
    reconstruction: ClassVar[str | None] = (
        "only the abstract could be had, so the layers, the distances, the weights, the attack and what a "
        "confused sample is are guesses after AGKD-BML and TLA"
    )

    steps: int = 10
    step_size: Fraction = Fraction(1, 4)  # of eps: 2/255 of 8/255
    target: Literal["none", "most_confusing"] = "none"  # of the attack: the likeliest wrong class of x
    label_smoothing: float = 0.0  # true class 1 - s + s/K
    alpha: float = 1.0  # weight of the distillation; 0: no teacher is needed
    distillation: Distillation = "mse"  # l2norm, cos and attention ignore the scale of the features
    distil_stages: tuple[int, ...] = (-2, -1)  # whose feature maps are compared; -1: the last
    clean_too: bool = False  # whether the student's features of x learn from the teacher, too (VFD-Adv)
    beta: float = 2.0  # weight of the metric
    confused: Literal["clean_mc", "adv_mc", "nearest"] = "clean_mc"  # see `fit`
    metric_stages: tuple[int, ...] = (-2,)  # whose features are compared
    pooling: Literal["average", "flat", "penultimate"] = "average"  # penultimate: not of metric_stages
    distance: Literal["cos", "l2"] = "cos"  # 1 - |cos|; squared distance of unit vectors
    margin: float = 0.03
    lam_n: float = 0.001  # weight of the mean squares of what the metric compares; idle where beta is 0
    detach: bool = False  # whether the metric moves x' alone, not x and c
    joint: bool = True  # one forward of x', x and c with joint BatchNorm statistics, or one of each
    init_from_teacher: bool = False
    teacher: str = "standard"

    def __post_init__(self) -> None:
        self._attack()  # says what is out of range
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")
        for name in ("alpha", "beta", "margin", "lam_n"):
            if getattr(self, name) < 0:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a number of at least 0")
        for name, stages in self._used_stages().items():
            if not stages:
                raise BadValue(f"{name} is empty, expected at least one stage", f"{name}=-1")

    @property
    def requires(self) -> Mapping[str, str]:
        """A teacher of the same architecture, trained on clean images and then fixed, if it is used."""
        return {"teacher": self.teacher} if self.alpha or self.init_from_teacher else {}

    def build(self, task: Task) -> nn.Module:
        """The student; the teacher is only needed while it trains."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place.

        The confused sample of x is a random training image of the class that the network confuses x with
        (clean_mc), that image attacked back to the class of x (adv_mc), or the image of another class in the
        batch whose penultimate features are nearest to those of x' (nearest).
        """
        attack = self._attack()
        back = PGD(steps=self.steps, step_size=self.step_size, random_start=True, target="given")
        self._check_stages(net, context)
        if self.init_from_teacher:
            net.load_state_dict(context.parents["teacher"].state_dict())
        draws_confused = self.beta > 0 and self.confused != "nearest"
        asks_for_target = draws_confused or self.target == "most_confusing"

        def step(model: nn.Module, batch: Batch) -> Terms:
            x, y = batch.x, batch.y
            target = most_confusing(context.observe(net, x).logits, y) if asks_for_target else y
            x_adv = context.attack(net, attack, x, y if self.target == "none" else target)
            if not self.alpha and not self.beta:
                return {"adversarial": self._cross_entropy(model(x_adv), y)}
            images = [x_adv]
            if self.beta or self.clean_too:
                images.append(x)
            if draws_confused:
                confused = context.like(target).x
                if self.confused == "adv_mc":
                    confused = context.attack(net, back, confused, y)
                images.append(confused)
            taught = context.observe(context.parents["teacher"], x) if self.alpha else None
            return self.terms(self._forward(model, images), taught, y)

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The student as it is."""
        return Deployed(predict=net)

    def terms(self, student: tuple[Features, ...], teacher: Features | None, y: Tensor) -> Terms:
        """Every loss term, weighted.

        `student` holds x', then x and c where they are needed, `teacher` x (None without distillation).
        """
        adversarial, *clean = student
        terms = {"adversarial": self._cross_entropy(adversarial.logits, y)}
        if teacher is not None:
            terms["distillation"] = self.alpha * self._distilled(adversarial, teacher)
            if self.clean_too:
                terms["distillation_clean"] = self.alpha * self._distilled(clean[0], teacher)
        if self.beta:
            terms |= self._metric(student, y)
        return terms

    def _cross_entropy(self, logits: Tensor, y: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, y, self.label_smoothing, "spread")

    def _distilled(self, student: Features, teacher: Features) -> Tensor:
        pairs = [(student.stages[stage], teacher.stages[stage]) for stage in self.distil_stages]
        return torch.stack([map_distance(ours, theirs, self.distillation) for ours, theirs in pairs]).sum()

    def _metric(self, student: tuple[Features, ...], y: Tensor) -> dict[str, Tensor]:
        adversarial, clean, *confused = student
        positives = self._compared(clean)
        apart = None
        if self.confused == "nearest":
            # in train mode, where the features are at hand
            nearest = hardest_negatives(adversarial.features.detach(), clean.features.detach(), y, y)
            negatives = [positive[nearest] for positive in positives]
            apart = y[nearest] != y  # false where the whole batch is of one class: then there is no triplet
        else:
            negatives = self._compared(confused[0])
        if self.detach:
            positives = [positive.detach() for positive in positives]
            negatives = [negative.detach() for negative in negatives]
        triplets, norms = [], []
        for anchor, positive, negative in zip(self._compared(adversarial), positives, negatives, strict=True):
            distance = angular_distance if self.distance == "cos" else unit_distance
            hinge = F.relu(self.margin + distance(anchor, positive) - distance(anchor, negative))
            triplets.append((hinge if apart is None else hinge * apart).mean())
            norms.append(feature_norm(anchor, positive, negative))
        return {
            "metric": self.beta * torch.stack(triplets).sum(),
            "norm": self.lam_n * torch.stack(norms).sum(),
        }

    def _compared(self, features: Features) -> list[Tensor]:
        """What the metric compares, [B, D] for each of its stages."""
        if self.pooling == "penultimate":
            return [features.features]
        maps = [features.stages[stage] for stage in self.metric_stages]
        return [average(each) if self.pooling == "average" else each.flatten(1) for each in maps]

    def _forward(self, model: nn.Module, images: list[Tensor]) -> tuple[Features, ...]:
        if not self.joint:
            return tuple(model.forward_features(each) for each in images)  # type: ignore[operator]
        joint = model.forward_features(torch.cat(images))  # type: ignore[operator]
        return split(joint, len(images))

    def _used_stages(self) -> Mapping[str, tuple[int, ...]]:
        used = {"distil_stages": self.distil_stages} if self.alpha else {}
        if self.beta and self.pooling != "penultimate":
            used["metric_stages"] = self.metric_stages
        return used

    def _check_stages(self, net: nn.Module, context: FitContext) -> None:
        blank = torch.zeros(2, *context.task.image_shape, device=context.device)
        stages = len(context.observe(net, blank).stages)
        for name, used in self._used_stages().items():
            for stage in used:
                if not -stages <= stage < stages:
                    raise BadValue(
                        f"{name} has {stage}, but {context.task.architecture} has {stages} stages, expected "
                        f"0 to {stages - 1}, or -1 for the last",
                        f"--set defense.{name}=-1",
                    )

    def _attack(self) -> PGD:
        target: Literal["none", "given"] = "none" if self.target == "none" else "given"
        return PGD(steps=self.steps, step_size=self.step_size, random_start=True, target=target)


def map_distance(student: Tensor, teacher: Tensor, kind: Distillation) -> Tensor:
    """How far feature maps [B, C', H, W] are from the teacher's, which are detached; mean over the batch.

    `mse` is the mean square over all entries, `l2norm` the squared distance of the channels at each position
    scaled to unit length, `cos` one minus the cosine of whole maps, `attention` that of AGKD-BML.

    >>> a, b = torch.ones(1, 2, 1, 1), torch.tensor([[[[1.0]], [[-1.0]]]])
    >>> [round(map_distance(a, b, kind).item(), 4) for kind in ("mse", "l2norm", "cos", "attention")]
    [2.0, 2.0, 1.0, 0.0]
    """
    if kind == "attention":
        return attention_distance(student, teacher)
    ours, theirs = student.float(), teacher.detach().float()
    if kind == "mse":
        return F.mse_loss(ours, theirs)
    if kind == "l2norm":
        return unit_distance(ours, theirs).mean()
    return (1 - F.cosine_similarity(ours.flatten(1), theirs.flatten(1), dim=1)).mean()


def unit_distance(a: Tensor, b: Tensor) -> Tensor:
    """The squared distance along dimension 1 of vectors scaled to unit length, 2 - 2 cos.

    >>> unit_distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    2.0
    """
    return (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(dim=1)


def split(features: Features, parts: int) -> tuple[Features, ...]:
    """What a forward pass of several batches of equal size gives, for each of them."""
    logits, pooled = features.logits.chunk(parts), features.features.chunk(parts)
    stages = [stage.chunk(parts) for stage in features.stages]
    return tuple(
        Features(logits[part], pooled[part], tuple(stage[part] for stage in stages)) for part in range(parts)
    )


_: Defense = Fdml()
