"""The attacks of Foolbox (Rauber, Zimmermann, Bethge & Brendel, JOSS 2020), by their names there.

Minimal attacks get the radius as the size at which they may stop, as their own call has it.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.api import Needs
from bench.attacks.others.adapter import library
from bench.attacks.others.signature import (
    Given,
    OthersAttack,
    Told,
    defaults,
    documented,
    looked_up,
    made,
    quiet,
)
from bench.core.threat import Norm

DECIDED = ("self", "distance", "constraint", "tensorboard")

SCORES = ("GenAttack",)
DECISIONS = (
    "BinarizationRefinementAttack",
    "BinarySearchContrastReductionAttack",
    "BoundaryAttack",
    "DatasetAttack",
    "GaussianBlurAttack",
    "HopSkipJumpAttack",
    "InversionAttack",
    "L2ContrastReductionAttack",
    "LinearSearchBlendedUniformNoiseAttack",
    "LinearSearchContrastReductionAttack",
    "PointwiseAttack",
    "SaltAndPepperNoiseAttack",
    "SpatialAttack",
)
"""Attacks that see classes alone; those that add noise do, too."""

ORDER = {Norm.LINF: math.inf, Norm.L2: 2, Norm.L1: 1, Norm.L0: 0}

UNFIT = {
    "BinarizationRefinementAttack": "needs images that fool already, expected an attack that needs none",
    "DatasetAttack": "needs images of other classes, expected an attack that needs images and labels alone",
    "GenAttack": "needs targets, expected an attack that runs without",
    "SpatialAttack": "moves and turns images, expected an attack that keeps to a norm",
}


@dataclass(frozen=True)
class FoolboxAttack(OthersAttack):
    """What all of them share."""

    library: ClassVar[str] = "foolbox"

    def attack(self, network: nn.Module, x: Tensor, y: Tensor, given: Given) -> Tensor:
        """Candidates [n, C, H, W] as Foolbox computes them, clipped to the radius."""
        package: Any = library("foolbox", "foolbox")
        offered = getattr(package.attacks, self.offered)
        norm = given.budget.norm.value.lower()
        decided = {"distance": getattr(package.distances, norm), "constraint": norm}
        known = {parameter.name for parameter in defaults(offered)}
        own = {name: value for name, value in decided.items() if name in known}
        attack = offered(**own, **self.arguments())
        model = package.PyTorchModel(network, bounds=(0, 1), device=x.device)
        # it cannot shorten changes under L0: there the nearest mistakes come as they are
        radius = None if given.budget.norm is Norm.L0 else given.budget.radius
        _, clipped, _ = attack(model, x, y, epsilons=radius)
        found: Tensor = clipped
        return found.detach()


def named(name: str) -> FoolboxAttack:
    """Every attack of Foolbox, with its own parameters: `foolbox:LinfPGD`, `foolbox:HopSkipJumpAttack`."""
    attack: FoolboxAttack = looked_up(name, offered(), _made)
    return attack


@functools.cache
def offered() -> tuple[str, ...]:
    """The names of all its attacks, shorter ones for the same class included."""
    attacks = _attacks()
    kinds = {name: kind for name, kind in vars(attacks).items() if inspect.isclass(kind)}
    return tuple(
        name
        for name, kind in sorted(kinds.items())
        if issubclass(kind, attacks.Attack) and not inspect.isabstract(kind)
    )


def __getattr__(name: str) -> type[FoolboxAttack]:
    if not name[:1].isupper() or not _installed() or name not in offered():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _made(name)


@functools.cache
def _made(name: str) -> type[Any]:
    attack = getattr(_attacks(), name)
    parameters = defaults(attack)
    written = documented(attack.__doc__)
    norms = () if name in UNFIT else _norms(attack, {parameter.name for parameter in parameters})
    unfit = None if norms else "keeps to no norm of ours, expected an attack that does"
    return made(
        FoolboxAttack,
        name,
        parameters,
        DECIDED,
        Told(
            needs=_needs(attack),
            norms=norms,
            minimal=issubclass(attack, _attacks().base.MinimizationAttack),
            unfit=UNFIT.get(name, unfit),
            doc=attack.__doc__,
            about={key: text for key, (_, text) in written.items()},
        ),
    )


def _norms(attack: Any, parameters: set[str]) -> tuple[Norm, ...]:
    if "distance" in parameters:
        return tuple(Norm)
    if "constraint" in parameters:
        return Norm.LINF, Norm.L2
    held = attack.distance
    if isinstance(held, property):
        held = getattr(attack(), "distance", None)  # one of them has forgotten its own
    order = getattr(held, "p", None)
    return tuple(norm for norm, p in ORDER.items() if order == p)


def _needs(attack: Any) -> Needs:
    if attack.__name__ in SCORES:
        return "scores"
    noise = attack.__module__.endswith(".additive_noise")
    return "labels" if noise or attack.__name__ in DECISIONS else "gradients"


@functools.cache
def _attacks() -> Any:
    with quiet():
        return library("foolbox", "foolbox").attacks


def _installed() -> bool:
    return importlib.util.find_spec("foolbox") is not None
