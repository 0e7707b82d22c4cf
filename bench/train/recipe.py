"""How long and with which optimizer a defense trains: data only, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from bench.errors import BadValue

OptimizerName = Literal["sgd", "adam"]
ScheduleName = Literal["constant", "step", "cosine", "one_cycle", "triangle"]
Decayed = Literal["all", "kernels"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Select = Literal["best", "last"]


@dataclass(frozen=True)
class Recipe:
    """Everything about training that is not the defense's own idea.

    >>> Recipe("two", epochs=0)
    Traceback (most recent call last):
    bench.errors.BadValue: recipe.epochs is 0, expected at least 1; try: --set recipe.epochs=30
    """

    name: str
    epochs: int = 30
    batch_size: int = 128  # over all devices together
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1  # the largest that the schedule reaches
    momentum: float = 0.9  # Adam: its first beta
    nesterov: bool = False
    weight_decay: float = 5e-4
    decayed: Decayed = "all"  # kernels: convolutions and linear layers alone, no bias and no BatchNorm
    schedule: ScheduleName = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)  # fractions of the epochs, for "step"
    gamma: float = 0.1  # what a milestone multiplies the learning rate with
    peak: float = 0.3  # fraction of the epochs after which "one_cycle" and "triangle" are at their largest
    eps_warmup: float = 0.0  # fraction of the epochs in which the inner attack's radius rises from 0 to full
    clip_norm: float | None = None  # largest L2 norm of the whole gradient
    ema_decay: float = 0.0  # of the averaged weights; 0: no averaging
    precision: Precision = "fp32"  # of training and its inner attack; validation verdicts are always fp32
    channels_last: bool = False
    validation_steps: int = 10  # of the PGD that measures robustness after each epoch
    validation_examples: int = 1000  # held-out images that it looks at, all classes; 0: no validation
    select: Select = "best"  # which epoch is kept
    source: str = "chosen for this benchmark"  # where the numbers come from

    def __post_init__(self) -> None:
        at_least = {"epochs": 1, "batch_size": 2, "validation_steps": 1, "validation_examples": 0}
        for name, least in at_least.items():
            _require(self, name, getattr(self, name) >= least, f"at least {least}", max(least, 30))
        _require(self, "learning_rate", self.learning_rate > 0, "a positive number", 0.1)
        _require(self, "momentum", 0 <= self.momentum < 1, "a number from 0 to below 1", 0.9)
        _require(self, "weight_decay", self.weight_decay >= 0, "a number of at least 0", 5e-4)
        _require(self, "peak", 0 < self.peak < 1, "a fraction between 0 and 1", 0.3)
        _require(self, "gamma", 0 < self.gamma <= 1, "a number above 0 and at most 1", 0.1)
        _require(self, "eps_warmup", 0 <= self.eps_warmup <= 1, "a fraction from 0 to 1", 0.3)
        _require(self, "ema_decay", 0 <= self.ema_decay < 1, "a number from 0 to below 1", 0.999)
        _require(self, "clip_norm", self.clip_norm is None or self.clip_norm > 0, "None or above 0", 1.0)
        rising = list(self.milestones) == sorted(self.milestones)
        inside = all(0 < milestone < 1 for milestone in self.milestones)
        _require(self, "milestones", rising and inside, "rising fractions between 0 and 1", "0.5,0.75")
        for name, names in _CHOICES.items():
            _require(self, name, getattr(self, name) in names, "one of " + ", ".join(names), names[0])
        plain = not (self.nesterov and (self.optimizer == "adam" or self.momentum == 0))
        _require(self, "nesterov", plain, "False unless sgd has a momentum", "false")
        seen = self.validation_examples > 0 or self.select == "last"
        _require(self, "select", seen, "'last' because there is no validation", "last")


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(ScheduleName),
    "decayed": get_args(Decayed),
    "precision": get_args(Precision),
    "select": get_args(Select),
}


def _require(recipe: Recipe, name: str, held: bool, expected: str, example: object) -> None:
    if not held:
        value = getattr(recipe, name)
        raise BadValue(f"recipe.{name} is {value!r}, expected {expected}", f"--set recipe.{name}={example}")
