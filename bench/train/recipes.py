"""The recipes by data set and name: a table of data, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bench.data.catalog import MEMORY, PREFIXES, kind
from bench.errors import BadValue, unknown
from bench.train.recipe import Recipe


def recipe(data: str, name: str = "short") -> Recipe:
    """The named recipe of a data set; `folder:PATH`, `npz:PATH` and their like share those of their kind.

    >>> recipe("cifar10", "paper_mart").epochs, recipe("folder:flowers").schedule
    (120, 'one_cycle')
    >>> recipe("cifar10", "shrt")
    Traceback (most recent call last):
    bench.errors.UnknownName: cifar10 has no recipe 'shrt'; did you mean 'short'?
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

    >>> of_attackers("npz:mine.npz", "short"), of_attackers("npz:mine.npz", "finetune")
    ('gentle', 'finetune')
    >>> of_attackers("mnist", "short")
    'short'
    """
    return _GENTLE.name if name == _ONE_CYCLE.name and kind(data) in PREFIXES else name


def published(data: str, *names: str) -> Recipe:
    """The schedule that a defense's own publication has for this data set: `paper_NAME` of the first such.

    >>> published("cifar10", "trades").epochs, published("cifar10", "no_such", "bilateral").name
    (76, 'paper_bilateral')
    >>> published("svhn", "trades")
    Traceback (most recent call last):
    bench.errors.BadValue: no publication states a schedule of trades for svhn, expected another recipe; \
try: --recipe paper_trades for that on cifar10, or --recipe short
    """
    own = [held for name in names if (held := _OWN.get(kind(data), {}).get(name))]
    if own:
        return own[0]
    raise BadValue(
        f"no publication states a schedule of {names[0]} for {data}, expected another recipe",
        f"{_elsewhere(data, names)}--recipe short",
    )


def _elsewhere(data: str, names: Sequence[str]) -> str:
    """What to type for the schedule that a publication has for other data, where these have it, too."""
    at_hand = RECIPES.get(kind(data), {})
    for name in names:
        others = [other for other, theirs in _OWN.items() if theirs.get(name) == at_hand.get(f"paper_{name}")]
        if f"paper_{name}" in at_hand and others:
            return f"--recipe paper_{name} for that on {others[0]}, or "
    return ""


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
_TWENTY_MINUTES = replace(
    _ONE_CYCLE,
    name="twenty_minutes",
    epochs=6,
    precision="fp32",
    source="chosen for this benchmark: on CIFAR-10, with 3 attack steps, small_resnet takes about 20 minutes "
    "of 2 cores",
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
    source="chosen for this benchmark: with 10 attack steps small_cnn takes about 4 minutes of 2 cores",
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


_USUAL = Recipe(
    "paper",
    epochs=200,
    learning_rate=0.1,
    weight_decay=2e-4,
    schedule="step",
    milestones=(0.5, 0.75),
)


def _published(source: str, **changes: Any) -> Recipe:
    """A publication's own schedule, as it differs from the most usual one."""
    return replace(_USUAL, source=source, **changes)


def _drops(*epochs: int, of: int) -> dict[str, Any]:
    """So many epochs, after some of which the learning rate is divided by ten."""
    return {"epochs": of, "milestones": tuple(epoch / of for epoch in epochs)}


_MEMBERS = _published(
    "nothing is trained: the members have the schedules of their own publications", epochs=1
)


def _named(found: Mapping[str, Recipe]) -> Mapping[str, Recipe]:
    return {name: replace(held, name=f"paper_{name}") for name, held in found.items()}


_CIFAR10 = _named(
    {
        "standard": _published("the natural teacher of AGKD-BML, named after its decays 100 and 150"),
        "agkd_bml": _published("AGKD-BML, released code; it keeps the best clean test accuracy"),
        "pgd_at": _published(
            "Madry et al., released configuration for CIFAR-10: 80 thousand steps of 128",
            epochs=205,
            decayed="kernels",
            select="last",
        ),
        "trades": _published(
            "TRADES, released code for CIFAR-10: epochs 75 and 76, counted from 1, at a tenth",
            **_drops(74, of=76),
            select="last",
        ),
        "mart": _published(
            "MART, released code for ResNet-18 on CIFAR-10: drops at 75, 90 and 100, counted from 1",
            **_drops(74, 89, 99, of=120),
            learning_rate=0.01,
            weight_decay=3.5e-3,
            select="last",
        ),
        "tla": _published(
            "TLA, the schedule from fresh weights in the released configuration for CIFAR-10: 80 thousand "
            "steps of 50; as released it goes on from a network trained by PGD (tla_from_at)",
            **_drops(50, 60, of=80),
            batch_size=50,
            decayed="kernels",
        ),
        "tla_from_at": _published(
            "TLA, released configuration for CIFAR-10: 0.1 for 1,000 steps of 50, 0.01 to 5,000, 0.001 to "
            "80,000, from a network trained by PGD",
            **_drops(1, 5, of=80),
            batch_size=50,
            decayed="kernels",
        ),
        "alp": _published("no schedule for CIFAR-10 in the paper: that of the port in MTandHJ"),
        "feature_scattering": _published(
            "Feature Scattering, released code for CIFAR-10",
            **_drops(60, 90, of=200),
            batch_size=60,
            select="last",
        ),
        "bilateral": _published(
            "Bilateral, released code for CIFAR-10",
            **_drops(100, 150, of=201),
            decayed="kernels",
            select="last",
        ),
        "ard": _published(
            "ARD, released code for CIFAR-10, whose second decay sets the rate that the first one set",
            milestones=(0.5,),
            select="last",
        ),
        "awp": _published(
            "AT-AWP, released code for CIFAR-10; it keeps the best robust test accuracy", weight_decay=5e-4
        ),
        "trades_awp": _published(
            "TRADES-AWP, released code for CIFAR-10: drops at 100 and 150, counted from 1",
            **_drops(99, 149, of=200),
            weight_decay=5e-4,
            select="last",
        ),
        "gaussian": _published(
            "Cohen et al., released code for CIFAR-10: divided by ten every 30 epochs",
            **_drops(30, 60, of=90),
            batch_size=256,
            weight_decay=1e-4,
            select="last",
        ),
        "ensemble": _MEMBERS,
        "fast_at": _published(
            "Fast is better than free, released code for CIFAR-10",
            epochs=15,
            learning_rate=0.2,
            weight_decay=5e-4,
            schedule="triangle",
            peak=0.5,
            select="last",
        ),
        "n_fgsm": _published(
            "Make some noise, released code for CIFAR-10",
            epochs=30,
            learning_rate=0.2,
            weight_decay=5e-4,
            schedule="triangle",
            peak=0.5,
            select="last",
        ),
        "lbgat": _published(
            "LBGAT, released script, which is for CIFAR-100: drops at 76 and 91, counted from 1; its first "
            "epoch is at 0.02, here at 0.1",
            **_drops(75, 90, of=100),
            select="last",
        ),
        "ikl_at": _published(
            "IKL, released script for CIFAR-10: the radius rises to the end; weights are averaged after each "
            "epoch by 0.9, here after each of its 391 steps by the root of that",
            learning_rate=0.2,
            weight_decay=5e-4,
            schedule="cosine",
            eps_warmup=1.0,
            ema_decay=0.99973,
            select="last",
        ),
        "score": _published(
            "SCORE, released example for CIFAR-10, 0.7 of each batch generated (--extra); its momentum moves "
            "from 0.95 to 0.85 and back, here it is 0.9",
            epochs=400,
            batch_size=512,
            learning_rate=0.2,
            nesterov=True,
            weight_decay=5e-4,
            decayed="kernels",
            schedule="one_cycle",
            peak=0.025,
            ema_decay=0.995,
        ),
        "free_at": _published(
            "Free adversarial training, released code for CIFAR-10 (replays=8): 80 thousand steps of 128, "
            "each replay is one",
            epochs=205,
            decayed="kernels",
            select="last",
        ),
    }
)
_CIFAR100 = _named(
    {
        "feature_scattering": replace(
            _CIFAR10["feature_scattering"], source="Feature Scattering, released code for CIFAR-100"
        ),
        "ard": replace(
            _CIFAR10["ard"],
            batch_size=256,
            source="ARD, released code for CIFAR-100; its second decay is none",
        ),
        "awp": replace(_CIFAR10["awp"], source="AT-AWP, released code for CIFAR-100"),
        "trades_awp": replace(_CIFAR10["trades_awp"], source="TRADES-AWP, released code for CIFAR-100"),
        "lbgat": replace(
            _CIFAR10["lbgat"],
            source="LBGAT, released script for CIFAR-100: drops at 76 and 91, counted from 1; its first "
            "epoch is at 0.02, here at 0.1",
        ),
        "ikl_at": replace(
            _CIFAR10["ikl_at"],
            source="IKL, released script for CIFAR-100: the radius rises to the end; weights are averaged "
            "after each epoch by 0.9, here after each of its 391 steps by the root of that",
        ),
        "free_at": replace(
            _CIFAR10["free_at"],
            source="Free adversarial training, released code for CIFAR-100 (replays=8): 80 thousand steps of "
            "128, each replay is one",
        ),
        "ensemble": _MEMBERS,
    }
)
_SVHN = _named(
    {
        "awp": replace(_CIFAR10["awp"], learning_rate=0.01, source="AT-AWP, released code for SVHN"),
        "n_fgsm": replace(
            _CIFAR10["n_fgsm"],
            learning_rate=0.05,
            peak=0.4,
            eps_warmup=5 / 30,
            source="Make some noise, released code for SVHN: the radius rises over five epochs",
        ),
    }
)
_TINY_IMAGENET = _named(
    {
        "tla": replace(
            _CIFAR10["tla"],
            epochs=16,
            batch_size=20,
            source="TLA, released configuration for Tiny ImageNet: 80 thousand steps of 20",
        ),
    }
)
_ADAM: Mapping[str, Any] = {"optimizer": "adam", "weight_decay": 0.0, "schedule": "constant"}
_MNIST = _named(
    {
        "standard": _published(
            "natural training in the steps of Madry et al.'s MNIST network",
            epochs=83,
            batch_size=50,
            learning_rate=1e-4,
            select="last",
            **_ADAM,
        ),
        "pgd_at": _published(
            "Madry et al., released code for MNIST: 100 thousand steps of 50",
            epochs=83,
            batch_size=50,
            learning_rate=1e-4,
            select="last",
            **_ADAM,
        ),
        "trades": _published(
            "TRADES, released code for MNIST: drops at 55, 75 and 90, counted from 1",
            **_drops(54, 74, 89, of=100),
            learning_rate=0.01,
            weight_decay=0.0,
            select="last",
        ),
        "tla": _published(
            "TLA, released configuration for MNIST: at most 600 thousand steps of 50",
            epochs=500,
            batch_size=50,
            learning_rate=1e-4,
            decayed="kernels",
            **{**_ADAM, "weight_decay": 2e-4},
        ),
        "alp": _published(
            "no schedule for MNIST in the paper: that of Mosbach et al., 2018",
            epochs=100,
            batch_size=256,
            learning_rate=1e-3,
            **_ADAM,
        ),
        "ensemble": _MEMBERS,
        "fast_at": _published(
            "Fast is better than free, released code for MNIST",
            epochs=10,
            batch_size=100,
            learning_rate=5e-3,
            select="last",
            **{**_ADAM, "schedule": "triangle", "peak": 0.4},
        ),
        "ensemble_at": _published(
            "Ensemble adversarial training, released code for MNIST",
            epochs=12,
            batch_size=64,
            learning_rate=1e-3,
            select="last",
            **_ADAM,
        ),
    }
)
_IMAGENET = _named(
    {
        "free_at": _published(
            "Free adversarial training, released code for ImageNet: 23 epochs of 4 replays, each of which is "
            "one here; drops after 8 and 16",
            **_drops(32, 64, of=92),
            batch_size=256,
            weight_decay=1e-4,
            select="last",
        ),
    }
)

_OWN: Mapping[str, Mapping[str, Recipe]] = {
    "cifar10": _CIFAR10,
    "cifar100": _CIFAR100,
    "imagenet": _IMAGENET,
    "mnist": _MNIST,
    "svhn": _SVHN,
    "tiny_imagenet": _TINY_IMAGENET,
}
"""data set -> defense -> the schedule that its publication has for it."""

_COLOUR = ("cifar10", "cifar100", "svhn", "tiny_imagenet", "imagenet")


def _as_recipes(own: Mapping[str, Recipe]) -> Mapping[str, Recipe]:
    return {held.name: held for held in own.values()}


RECIPES: Mapping[str, Mapping[str, Recipe]] = MappingProxyType(
    {
        "digits": {"short": _DIGITS},
        **{
            data: {"short": _GREY, "four_minutes": _FOUR_MINUTES, **_as_recipes(_MNIST)}
            for data in ("mnist", "fashion_mnist")
        },
        **{
            data: {
                "short": _ONE_CYCLE,
                "twenty_minutes": _TWENTY_MINUTES,
                "finetune": _FINETUNE,
                **_as_recipes(_CIFAR10),
                **_as_recipes(_OWN.get(data, {})),
            }
            for data in _COLOUR
        },
        **{
            data: {
                "short": _ONE_CYCLE,
                "twenty_minutes": _TWENTY_MINUTES,
                "gentle": _GENTLE,
                "finetune": _FINETUNE,
                **_as_recipes(_CIFAR10),
            }
            for data in PREFIXES
        },
        "synthetic": {"short": _SYNTHETIC},
    }
)
"""data set -> name -> recipe.

`paper_NAME` stands beside data that its publication did not use, too: its source says of which data it is,
and `published` gives it to nobody who did not name it.
"""
