"""The recipes by data set and name: a table of data, without torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from bench.errors import UnknownName
from bench.train.recipe import Recipe


def recipe(data: str, name: str = "short") -> Recipe:
    """The named recipe of a data set; `folder:PATH` and `npz:PATH` share those of their kind.

    >>> recipe("cifar10", "paper").epochs, recipe("folder:flowers").schedule
    (200, 'one_cycle')
    >>> recipe("cifar10", "papr")
    Traceback (most recent call last):
    bench.errors.UnknownName: cifar10 has no recipe 'papr'; did you mean 'paper'?
    """
    kind = data.partition(":")[0]
    if kind not in RECIPES:
        raise UnknownName(_unknown(f"no data set with recipes is named {data!r}", kind, list(RECIPES)))
    if name not in RECIPES[kind]:
        raise UnknownName(_unknown(f"{data} has no recipe {name!r}", name, list(RECIPES[kind])))
    return RECIPES[kind][name]


def _unknown(message: str, name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"{message}; did you mean {near[0]!r}?" if near else f"{message}, expected {', '.join(names)}"


_ONE_CYCLE = Recipe(
    "short",
    epochs=30,
    learning_rate=0.2,
    weight_decay=5e-4,
    schedule="one_cycle",
    precision="bf16",
    channels_last=True,
    source="one-cycle adversarial training after Wong, Rice, Kolter: Fast is better than free, ICLR 2020",
)
_FINETUNE = Recipe(
    "finetune",
    epochs=3,
    learning_rate=0.05,
    weight_decay=5e-4,
    schedule="one_cycle",
    precision="bf16",
    channels_last=True,
    source="chosen for this benchmark: a network trained on clean images made robust (--init FILE)",
)
_PAPER = Recipe(
    "paper",
    epochs=200,
    learning_rate=0.1,
    weight_decay=2e-4,
    schedule="step",
    milestones=(0.5, 0.75),
    source="released code of AGKD-BML, Wang et al., ICCV 2021",
)
_GREY = Recipe(
    "short",
    epochs=10,
    optimizer="adam",
    learning_rate=2e-3,
    weight_decay=0.0,
    schedule="one_cycle",
    eps_warmup=0.4,
    channels_last=True,
)
_FOUR_MINUTES = Recipe(
    "four_minutes",
    epochs=4,
    optimizer="adam",
    learning_rate=2e-3,
    weight_decay=0.0,
    schedule="one_cycle",
    eps_warmup=0.4,  # at the full 0.3 from the start, the loss stays at chance
    channels_last=True,
    source="chosen for this benchmark: the dearest defense trains small_cnn in about 4 minutes of 2 cores",
)
_GREY_PAPER = Recipe(
    "paper",
    epochs=100,
    learning_rate=0.01,
    weight_decay=0.0,
    schedule="step",
    milestones=(0.55, 0.75, 0.9),
    source="released MNIST code of TRADES, Zhang et al., ICML 2019",
)
_DIGITS = Recipe(
    "short",
    epochs=30,
    batch_size=64,
    optimizer="adam",
    learning_rate=3e-3,
    weight_decay=0.0,
    schedule="one_cycle",
    channels_last=True,
)
_SYNTHETIC = Recipe(
    "short",
    epochs=5,
    batch_size=32,
    optimizer="adam",
    learning_rate=3e-3,
    weight_decay=0.0,
    schedule="constant",
    validation_steps=5,
)

LOADED = Recipe(
    "loaded",
    epochs=1,
    validation_examples=0,
    select="last",
    source="nothing is trained: the weights are those of others",
)
"""What stands in the place of a recipe where weights are loaded; no data set has it."""

_COLOUR = ("cifar10", "cifar100", "svhn", "tiny_imagenet", "folder", "npz")

RECIPES: Mapping[str, Mapping[str, Recipe]] = MappingProxyType(
    {
        "digits": {"short": _DIGITS},
        "mnist": {"short": _GREY, "four_minutes": _FOUR_MINUTES, "paper": _GREY_PAPER},
        "fashion_mnist": {"short": _GREY, "four_minutes": _FOUR_MINUTES, "paper": _GREY_PAPER},
        **{data: {"short": _ONE_CYCLE, "finetune": _FINETUNE, "paper": _PAPER} for data in _COLOUR},
        "synthetic": {"short": _SYNTHETIC},
    }
)
