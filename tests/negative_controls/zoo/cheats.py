"""Broken defenses as the harness takes them: each a trained network with something put around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import layers, tuned
from zoo.layers import Chain
from zoo.networks import small

from bench.api import Attack, Batch, Defense, Deployed, FitContext, Task, Terms, Trait
from bench.attacks.fgsm import FGSM
from bench.attacks.pgd import PGD
from bench.data.load import load
from bench.nn.architectures import network
from bench.train.loop import fit_classifier

Cheat = Callable[[nn.Module], Deployed]
"""A trained network -> what its authors deploy."""


@dataclass(frozen=True)
class Cheating:
    """A network of another defense, deployed with one of the `CHEATS` around it."""

    paper: ClassVar[str] = "none: a negative control"
    reconstruction: ClassVar[str | None] = None

    cheat: str = "nothing"
    of: Defense | str = "standard"

    @property
    def requires(self) -> Mapping[str, Defense | str]:
        """The network that is deployed."""
        return {"inner": self.of}

    def build(self, task: Task) -> nn.Module:
        """The same network."""
        return cast(Defense, self.of).build(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Take its weights."""
        net.load_state_dict(context.parents["inner"].state_dict())

    def deploy(self, net: nn.Module) -> Deployed:
        """With the cheat."""
        return CHEATS[self.cheat](net)


@dataclass(frozen=True)
class Trained:
    """Networks that are trained here: nothing of the product's defenses."""

    paper: ClassVar[str] = "none: a control"
    reconstruction: ClassVar[str | None] = None

    kind: str = "linear"  # of zoo.networks; one_step: the task's own
    against: str = ""  # pgd: trained adversarially

    @property
    def requires(self) -> Mapping[str, Defense | str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The network of that kind."""
        return network(task) if self.kind == "one_step" else small(self.kind, task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """By cross-entropy; `one_step` on images of FGSM that always starts at the clean image."""
        attack: Attack | None = FGSM() if self.kind == "one_step" else None
        attack = PGD(steps=5) if self.against == "pgd" else attack

        def step(model: nn.Module, batch: Batch) -> Terms:
            x = batch.x if attack is None else context.attack(net, attack, batch.x, batch.y)
            return {"task": F.cross_entropy(model(x).float(), batch.y)}

        fit_classifier(net, context, step, keep="last")

    def deploy(self, net: nn.Module) -> Deployed:
        """As it is."""
        return Deployed(net)


def _around(before: layers.Change | None = None, after: layers.Change | None = None) -> Cheat:
    return lambda net: Deployed(Chain(net, before, after))


def _grows_with_loss(net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: F.cross_entropy(net(x), y, reduction="none")


def _purified(purifier: nn.Module | layers.Change, honest: bool = False) -> Cheat:
    """A purifier before the classifier; who is honest also says what an attacker would climb."""

    def deploy(net: nn.Module) -> Deployed:
        inner = purifier if isinstance(purifier, nn.Module) else Chain(nn.Identity(), purifier)
        whole = Chain(net, inner)
        loss = _grows_with_loss(whole) if honest else None
        return Deployed(whole, classifier=net, purifier=inner, adaptive_loss=loss)

    return deploy


def _refusing(refuses: Callable[[nn.Module, Tensor], Tensor]) -> Cheat:
    return lambda net: Deployed(net, detector=lambda x: refuses(net, x))


def _blurred(x: Tensor) -> Tensor:
    """A mild blur: differentiable, and no defense."""
    return 0.8 * x + 0.2 * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _all_test_images() -> Tensor:
    return load("digits", None).test.x


def _lost_loss(net: nn.Module) -> Deployed:
    """Declares a purifier that does nothing, and an adaptive loss that leads back to the clean image."""
    whole = Chain(net, _blurred)
    climbs = _grows_with_loss(whole)
    return Deployed(
        whole,
        classifier=net,
        purifier=Chain(nn.Identity(), _blurred),
        adaptive_loss=lambda x, y: -climbs(x, y),
        declared=(Trait.PREPROCESSING,),
    )


def _flat_suspicion(net: nn.Module) -> Deployed:
    """A detector of attacked images whose `suspicion`, which attackers climb, is flat."""
    return Deployed(
        net,
        detector=layers.off_the_grid,
        suspicion=lambda x: layers.off_the_grid(x).float() - 0.5 + 0 * x.flatten(1).sum(1),
    )


CHEATS: Mapping[str, Cheat] = {
    "nothing": Deployed,
    "saturated": _around(after=layers.sure),
    "rounded_logits": _around(after=lambda logits: (logits * 10).round() / 10),
    "one_hot": _around(after=layers.one_hot),
    "one_answer": _around(after=layers.always_the_first),
    "thermometer": _around(layers.thermometer),
    "jpeg": _around(layers.jpeg),
    "rounded_images": _around(layers.rounded(8)),
    "probabilities": _around(after=lambda logits: logits.softmax(1)),
    "noise": _around(layers.noisy(0.1)),
    "noise_off_the_grid": _around(layers.noisy_off_the_grid),
    "random_shift": _around(layers.shifted),
    "said_to_be_random": lambda net: Deployed(net, randomized=True, eot_samples=2),
    "one_eot_sample": lambda net: Deployed(
        Chain(net, layers.noisy_both_ways), randomized=True, eot_samples=1
    ),
    "batch_statistics": _around(after=layers.standardised_by_the_batch),
    "train_mode": lambda net: Deployed(layers.StaysInTraining(net)),
    "normalised_outside": _around(lambda x: x / 255),
    "no_derivative": _around(layers.endless_slope),
    "floored": _around(layers.backwards(lambda gradient: gradient * (gradient.abs() > 1e3))),
    "turned_round": _around(layers.backwards(torch.neg)),
    "noise_for_gradients": _around(layers.backwards(torch.randn_like)),
    "sees_derivatives": lambda net: Deployed(layers.SeesDerivatives(net)),
    "descends": lambda net: Deployed(layers.Descends(net)),
    "remembers": lambda net: Deployed(layers.Remembers(net, radius=0.5)),
    "turns_over": lambda net: Deployed(layers.TurnsOver(net, calls=60)),
    "refuses_attacks": _refusing(lambda net, x: layers.off_the_grid(x)),
    "flat_suspicion": _flat_suspicion,
    "nearest_test_image": lambda net: _purified(layers.KnowsTheImages(_all_test_images(), None))(net),
    "soft_test_images": lambda net: _purified(layers.KnowsTheImages(_all_test_images(), 3.0), True)(net),
    "stand_in_of_another": lambda net: Deployed(net, attackable=tuned.untrained(net)),
    "undeclared_loss": _purified(layers.jpeg),
    "lost_loss": _lost_loss,
    "honest_noise": lambda net: Deployed(Chain(net, layers.noisy(0.05)), randomized=True, eot_samples=4),
    "honest_blur": _purified(_blurred, honest=True),
    "cliff": lambda net: Deployed(tuned.Table(net, radius=0.2)),
    "order": lambda net: Deployed(tuned.Order(net)),
    "plateau": _around(after=tuned.plateau),
    "in_half": _around(after=tuned.in_half),
    "sine": _around(tuned.sine),
    "adapts_to_batch": _around(tuned.adapted),
    "dealt": _around(after=tuned.dealt),
    "dropped": tuned.dropped,
    "refuses_doubt": partial(tuned.doubting, 0.999),
    "refuses_change": tuned.refuses_change,
    "honest_smoothing": lambda net: Deployed(tuned.Averages(net, 0.05, 4), randomized=True, eot_samples=2),
    "honest_detector": partial(tuned.doubting, 0.3),
    "honest_bfloat16": lambda net: Deployed(tuned.InBfloat16(net)),
    "honest_and_sure": _around(after=lambda logits: 5 * logits),
}
"""Name -> what is deployed."""

_: tuple[Defense, ...] = (Cheating(), Trained())
