"""Distillation-based purification: a small autoencoder cleans the image before an unchanged classifier.

Koo, Chae, Lee, "Improving Adversarial Robustness via Distillation-Based Purification", Applied Sciences 2023,
13(20), 11313, doi 10.3390/app132011313. Two teachers, one trained on attacked and one on clean images, are
distilled into a student, which is deployed. The baselines of the same family are here, too: either teacher
alone, the student without teachers, a denoising autoencoder after MagNet (Meng, Chen, CCS 2017), no purifier.

The paper's attackers probably see the classifier alone (gray-box). A differentiable purifier hides nothing
from those who see it, too: the attacks through it (white-box) say what it is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Batch, Defense, Deployed, Features, FitContext, Step, Task, Terms
from bench.attacks.fgsm import FGSM
from bench.attacks.pgd import PGD
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.autoencoder import Autoencoder, channel_plan
from bench.train.loop import fit_classifier
from defenses.losses import noisy

Purifier = Literal["distilled", "adversarial", "restoring", "denoising", "undistilled", "none"]
"""Which autoencoder stands before the classifier.

`distilled`: the student of both teachers. `adversarial`, `restoring`: one teacher alone. `undistilled`: the
student without teachers. `denoising`: trained on Gaussian noise. `none`: the classifier as it is.
"""


class Purified(nn.Module):
    """classifier(purifier(x)); the classifier is never trained: no gradients, always in eval mode."""

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier = purifier
        self.classifier = classifier.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        logits: Tensor = self.classifier(self.purifier(x))
        return logits

    def train(self, mode: bool = True) -> Purified:
        """The mode is the purifier's; the classifier's BatchNorm keeps its statistics."""
        super().train(mode)
        self.classifier.eval()
        return self


class StraightThroughPurifier(nn.Module):
    """BPDA (Athalye, Carlini, Wagner, ICML 2018): forward as `Purified`, backward past the purifier."""

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier = purifier
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        unchanged = x - x.detach()  # zero, bit for bit, with the gradient of x
        logits: Tensor = self.classifier(self.purifier(x).detach() + unchanged)
        return logits


@dataclass(frozen=True)
class Dbp:
    """L = (1 - a) L_rec + a L_KD for the student S of the teachers T_a and T_n, before a fixed classifier f.

    L_rec = |S(x') - x|^2 + |S(x) - x|^2, with x' attacked against f. L_KD is w_a |S(x') - T_a(x')|^2 +
    w_n |S(x) - T_n(x)|^2 ("split") or |S(x') - (w_a T_a(x') + w_n T_n(x))|^2 ("ensemble"). The teachers
    minimise |T_a(x') - x|^2 + clean_weight |T_a(x) - x|^2 and |T_n(x) - x|^2. Squares are means over all
    pixels. x' and x pass the student in one batch, so its BatchNorm sees their joint statistics.
    """

    paper: ClassVar[str] = (
        "Koo, Chae and Lee, Improving Adversarial Robustness via Distillation-Based Purification, "
        "Applied Sciences 2023"
    )
    reconstruction: ClassVar[str | None] = (
        "only the abstract was at hand: networks, losses and their weights, the training attack, and which "
        "teacher teaches what are guessed"
    )

    purifier: Purifier = "distilled"
    widths: tuple[int, ...] = ()  # channels of the encoder's blocks; empty: 32,64, and 128 from 32x32 on
    half: bool = False  # whether a student has half of these channels
    skip: bool = False  # whether decoders see the encoder's maps (U-Net): no bottleneck then
    attack: Literal["pgd", "fgsm", "both"] = "pgd"  # makes x'; both: FGSM for half of each batch
    steps: int = 10  # of PGD
    step_size: Fraction = Fraction(1, 4)  # of eps
    attack_through: Literal["classifier", "purifier"] = "classifier"  # purifier: x' is made against f(S(x'))
    clean_weight: float = 0.0  # w_c, of the clean images in the adversarial teacher's loss
    noise: float = 0.1  # standard deviation for "denoising", in pixel units
    routing: Literal["split", "ensemble"] = "split"  # each teacher its own skill, or one averaged target
    a: float = 0.5  # share of the distillation; 0: undistilled
    w_a: float = 0.5  # weight of the adversarial teacher
    w_n: float = 0.5  # weight of the restoring teacher
    feat: float = 0.0  # weight of matching the codes, too, beside the images
    task: float = 0.0  # weight of CE(f(S(x')), y) in a student's loss
    gradients: Literal["end_to_end", "bpda"] = "end_to_end"  # of white-box attacks; bpda is weaker

    def __post_init__(self) -> None:
        self._pgd()  # says what is out of range
        if any(width < 1 for width in self.widths):
            raise BadValue(f"widths is {self.widths}, expected numbers of at least 1", "widths=32,64")
        if not 0 <= self.a <= 1:
            raise BadValue(f"a is {self.a}, expected a share in [0, 1]")
        for name in ("clean_weight", "noise", "w_a", "w_n", "feat", "task"):
            if getattr(self, name) < 0:
                raise BadValue(f"{name} is {getattr(self, name)}, expected a number of at least 0")
        if self.feat and self.half:
            raise BadValue(
                f"feat is {self.feat}, but the code of a student of half the width has another shape, "
                "expected 0",
                "feat=0",
            )
        if self.routing == "ensemble" and abs(self.w_a + self.w_n - 1) > 1e-6:
            raise BadValue(
                f"w_a is {self.w_a} and w_n {self.w_n}, expected a sum of 1 for one averaged target",
                "routing=split",
            )

    @property
    def requires(self) -> Mapping[str, str]:
        """The classifier, and the teachers where there are any: this defense with another purifier."""
        classifier = {"classifier": "standard"}
        if not self._taught:
            return classifier
        attack = ("attack", "steps", "step_size", "attack_through", "clean_weight")
        return {
            **classifier,
            "adversarial": self._variant("adversarial", "widths", "skip", *attack),
            "restoring": self._variant("restoring", "widths", "skip"),
        }

    def build(self, task: Task) -> nn.Module:
        """Purifier and classifier; the teachers are only needed while the student trains."""
        return Purified(self._purifier(task), network(task))

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Take over the classifier, then train the purifier in place."""
        whole = cast(Purified, net)
        whole.classifier.load_state_dict(context.parents["classifier"].state_dict())
        if self.purifier == "none":
            return
        # the last epoch: which one classifies best says little about restoring images
        fit_classifier(whole.purifier, context, self._step(whole, context), judge=whole, keep="last")

    def deploy(self, net: nn.Module) -> Deployed:
        """The purified classifier; gray-box attackers have the bare one.

        Also where there is no purifier: the gray-box column is then the undefended row, with which those of
        the purifiers are to be compared.
        """
        whole = cast(Purified, net)
        bpda = self.gradients == "bpda"
        stand_in = StraightThroughPurifier(whole.purifier, whole.classifier) if bpda else None
        return Deployed(whole, whole.classifier, whole.purifier, attackable=stand_in)

    def teacher_terms(self, x: Tensor, restored_adv: Tensor, restored: Tensor | None) -> Terms:
        """The adversarial teacher's loss from T_a(x') and, where the clean images count, T_a(x)."""
        terms = {"restore_adversarial": squared_error(restored_adv, x)}
        if restored is not None:
            terms["restore_clean"] = self.clean_weight * squared_error(restored, x)
        return terms

    def student_terms(
        self, x: Tensor, student: Features, taught_adv: Features | None, taught: Features | None
    ) -> Terms:
        """The student's loss for [x'; x] (2B images), without `task`.

        `taught_adv` is what the adversarial teacher makes of x', `taught` what the restoring one makes of x;
        None without distillation.
        """
        restored_adv, restored = student.logits.chunk(2)
        code_adv, code = student.stages[-1].chunk(2)
        share = self.a if taught_adv is not None and taught is not None else 0.0
        terms = {
            "restore_adversarial": (1 - share) * squared_error(restored_adv, x),
            "restore_clean": (1 - share) * squared_error(restored, x),
        }
        if taught_adv is None or taught is None:
            return terms
        images = self._distil(restored_adv, restored, taught_adv.logits, taught.logits)
        terms |= {f"distil_{name}": share * term for name, term in images.items()}
        if self.feat:
            codes = self._distil(code_adv, code, taught_adv.stages[-1], taught.stages[-1])
            terms |= {f"code_{name}": share * self.feat * term for name, term in codes.items()}
        return terms

    def _distil(self, adv: Tensor, clean: Tensor, taught_adv: Tensor, taught: Tensor) -> dict[str, Tensor]:
        taught_adv, taught = taught_adv.detach(), taught.detach()
        if self.routing == "ensemble":
            return {"ensemble": squared_error(adv, self.w_a * taught_adv + self.w_n * taught)}
        return {
            "adversarial": self.w_a * squared_error(adv, taught_adv),
            "clean": self.w_n * squared_error(clean, taught),
        }

    def _step(self, net: Purified, context: FitContext) -> Step:
        victim = net if self.attack_through == "purifier" else net.classifier

        def adversarial(model: nn.Module, batch: Batch) -> Terms:
            x_adv = self._attacked(victim, context, batch)
            if not self.clean_weight:
                return self.teacher_terms(batch.x, model(x_adv), None)
            restored_adv, restored = model(torch.cat([x_adv, batch.x])).chunk(2)
            return self.teacher_terms(batch.x, restored_adv, restored)

        def restoring(model: nn.Module, batch: Batch) -> Terms:
            return {"restore_clean": squared_error(model(batch.x), batch.x)}

        def denoising(model: nn.Module, batch: Batch) -> Terms:
            spoilt = noisy(batch.x, self.noise, context.generator)  # as MagNet's
            return {"restore_noisy": squared_error(model(spoilt), batch.x)}

        def student(model: nn.Module, batch: Batch) -> Terms:
            x_adv = self._attacked(victim, context, batch)
            joint = model.forward_features(torch.cat([x_adv, batch.x]))  # type: ignore[operator]
            taught_adv = taught = None
            if self._taught:
                taught_adv = context.observe(_purifier_of(context.parents["adversarial"]), x_adv)
                taught = context.observe(_purifier_of(context.parents["restoring"]), batch.x)
            terms = dict(self.student_terms(batch.x, joint, taught_adv, taught))
            if self.task:
                logits = net.classifier(joint.logits[: len(batch)]).float()
                terms["task"] = self.task * F.cross_entropy(logits, batch.y)
            return terms

        steps = {"adversarial": adversarial, "restoring": restoring, "denoising": denoising}
        return steps.get(self.purifier, student)

    def _attacked(self, victim: nn.Module, context: FitContext, batch: Batch) -> Tensor:
        x, y = batch.x, batch.y
        if self.attack == "pgd":
            return context.attack(victim, self._pgd(), x, y)
        if self.attack == "fgsm":
            return context.attack(victim, FGSM(), x, y)
        half = len(batch) // 2  # batches are shuffled: no draw is needed
        return torch.cat(
            [
                context.attack(victim, FGSM(), x[:half], y[:half]),
                context.attack(victim, self._pgd(), x[half:], y[half:]),
            ]
        )

    def _purifier(self, task: Task) -> nn.Module:
        if self.purifier == "none":
            return nn.Identity()
        widths = self.widths or channel_plan(task.image_shape)
        if self.half and self.purifier in ("distilled", "undistilled"):
            widths = tuple(max(1, width // 2) for width in widths)
        return Autoencoder(task.image_shape, widths, self.skip)

    @property
    def _taught(self) -> bool:
        return self.purifier == "distilled" and self.a > 0

    def _variant(self, purifier: Purifier, *fields: str) -> str:
        """This defense with another purifier, and those of the named fields that were changed."""
        changed = {name: getattr(self, name) for name in fields if getattr(self, name) != getattr(Dbp, name)}
        settings = [f"{name}={_plain(value)}" for name, value in changed.items()]
        return f"dbp[{','.join([f'purifier={purifier}', *settings])}]"

    def _pgd(self) -> PGD:
        return PGD(steps=self.steps, step_size=self.step_size, random_start=True)


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference over images, channels and pixels.

    >>> squared_error(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)).item()
    0.25
    """
    return F.mse_loss(a.float(), b.float())


def _purifier_of(teacher: nn.Module) -> nn.Module:
    return cast(Purified, teacher).purifier


def _plain(value: object) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


DBP_UNDISTILLED = Dbp(purifier="undistilled")
"""The student without its teachers."""

DBP_TEACHER_ADVERSARIAL = Dbp(purifier="adversarial")
"""The teacher that restores attacked images, deployed itself."""

DBP_TEACHER_RESTORING = Dbp(purifier="restoring")
"""The teacher that restores clean images, deployed itself."""

DBP_NONE = Dbp(purifier="none")
"""The classifier that every purifier here stands before, without one."""

_: Defense = Dbp()
