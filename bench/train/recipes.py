"""The recipes by data set and name: a table of data, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bench.data.catalog import MEMORY, PREFIXES, kind
from bench.errors import unknown
from bench.train.recipe import Recipe


def recipe(data: str, name: str = "short") -> Recipe:
    """The named recipe of a data set; `folder:PATH`, `npz:PATH` and their like share those of their kind.

    >>> recipe("cifar10", "paper").epochs, recipe("folder:flowers").schedule
    (200, 'one_cycle')
    >>> recipe("cifar10", "papr")
    Traceback (most recent call last):
    bench.errors.UnknownName: cifar10 has no recipe 'papr'; did you mean 'paper'?
    """
    known = "npz" if kind(data) == MEMORY.name else kind(data)  # arrays in memory are as those of a file
    if known not in RECIPES:
        raise unknown("data set with recipes", known, RECIPES)
    if name not in RECIPES[known]:
        raise unknown("recipe", name, RECIPES[known], owner=data)
    return RECIPES[known][name]


def of_attackers(data: str, name: str) -> str:
    """The recipe of networks that attackers train for themselves, where the victim has the named one.

    Nobody knows the user's own images, and what a short schedule makes of them with large steps: there
    attackers take smaller ones.

    >>> of_attackers("npz:mine.npz", "short"), of_attackers("npz:mine.npz", "paper")
    ('gentle', 'paper')
    >>> of_attackers("mnist", "short")
    'short'
    """
    return _GENTLE.name if name == _ONE_CYCLE.name and kind(data) in PREFIXES else name


def published(data: str, *names: str) -> Recipe:
    """The schedule of a defense's own publication, `paper_NAME` of the first such, else `paper`.

    >>> published("cifar10", "trades").epochs, published("cifar10", "bilateral").name
    (76, 'paper')
    """
    known = RECIPES.get(kind(data), {})
    own = [f"paper_{name}" for name in names if f"paper_{name}" in known]
    return recipe(data, own[0] if own else "paper")


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
_GENTLE = replace(
    _ONE_CYCLE,
    name="gentle",
    learning_rate=0.05,
    clip_norm=1.0,
    source="chosen for this benchmark: the short schedule in steps that no images of one's own make diverge",
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


def _published(paper: str, source: str, **changes: Any) -> Recipe:
    """A publication's own schedule, as it differs from the most usual one."""
    return replace(_PAPER, name=f"paper_{paper}", source=source, **changes)


_PUBLISHED = {
    found.name: found
    for found in (
        _published("pgd_at", "Madry et al., released configuration: 80 thousand steps of 128", epochs=205),
        _published("trades", "TRADES, released code", epochs=76, milestones=(75 / 76,)),
        _published(
            "mart",
            "MART, released code for ResNet-18",
            epochs=120,
            learning_rate=0.01,
            weight_decay=3.5e-3,
            milestones=(75 / 120, 90 / 120, 100 / 120),
        ),
        _published(
            "tla",
            "TLA, released configuration for CIFAR-10: 80 thousand steps of 50",
            epochs=80,
            batch_size=50,
            milestones=(50 / 80, 60 / 80),
        ),
        _published("alp", "no schedule for CIFAR-10 in the paper: that of the port in MTandHJ"),
        _published("feature_scattering", "FS, released code", batch_size=60, milestones=(60 / 200, 90 / 200)),
        _published("awp", "AWP, Wu et al., NeurIPS 2020; not checked against its text", weight_decay=5e-4),
        _published(
            "fast_at",
            "Fast is better than free, Wong et al., ICLR 2020; not checked against its text",
            epochs=15,
            learning_rate=0.2,
            weight_decay=5e-4,
            schedule="one_cycle",
            select="last",
        ),
        _published(
            "n_fgsm",
            "Make some noise, de Jorge et al., NeurIPS 2022; not checked against its text",
            epochs=30,
            learning_rate=0.2,
            weight_decay=5e-4,
            schedule="one_cycle",
            select="last",
        ),
    )
}
_PUBLISHED_GREY = {
    found.name: found
    for found in (
        _published(
            "pgd_at",
            "Madry et al., released MNIST configuration: 100 thousand steps of 50; Adam not checked",
            epochs=83,
            batch_size=50,
            optimizer="adam",
            learning_rate=1e-4,
            weight_decay=0.0,
            schedule="constant",
        ),
        _published(
            "tla",
            "TLA, released MNIST configuration: at most 600 thousand steps of 50",
            epochs=500,
            batch_size=50,
            optimizer="adam",
            learning_rate=1e-4,
            schedule="constant",
        ),
        _published(
            "alp",
            "no schedule for MNIST in the paper: that of Mosbach et al., 2018",
            epochs=100,
            batch_size=256,
            optimizer="adam",
            learning_rate=1e-3,
            weight_decay=0.0,
            schedule="constant",
        ),
    )
}

_COLOUR = ("cifar10", "cifar100", "svhn", "tiny_imagenet", "imagenet")

RECIPES: Mapping[str, Mapping[str, Recipe]] = MappingProxyType(
    {
        "digits": {"short": _DIGITS},
        **{
            data: {"short": _GREY, "four_minutes": _FOUR_MINUTES, "paper": _GREY_PAPER, **_PUBLISHED_GREY}
            for data in ("mnist", "fashion_mnist")
        },
        **{
            data: {"short": _ONE_CYCLE, "finetune": _FINETUNE, "paper": _PAPER, **_PUBLISHED}
            for data in _COLOUR
        },
        **{
            data: {
                "short": _ONE_CYCLE,
                "gentle": _GENTLE,
                "finetune": _FINETUNE,
                "paper": _PAPER,
                **_PUBLISHED,
            }
            for data in PREFIXES
        },
        "synthetic": {"short": _SYNTHETIC},
    }
)
