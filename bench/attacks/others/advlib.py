"""The attacks of adv_lib (Rony & Ben Ayed, Adversarial Library, Zenodo, 2021), by the names of its functions.

Parameters that it spells with Greek letters are spelt out: `gamma` for γ.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.api import Attack
from bench.attacks.others.lent import library
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

ALWAYS = ("model", "inputs", "images", "labels", "targeted", "num_classes", "callback", "norm")
DECIDED = {
    "alma": ("distance",),
    "apgd": ("eps",),
    "apgd_targeted": ("eps",),
    "fab": ("ε",),
    "pgd_linf": ("ε",),
    "tr": ("p",),
}
"""What each function gets from the budget besides the norm; `eps` of `tr` is a tolerance of its own."""

BOTH, LINF, L2 = (Norm.LINF, Norm.L2), (Norm.LINF,), (Norm.L2,)
NORMS = {
    "alma": L2,
    "apgd": BOTH,
    "apgd_targeted": BOTH,
    "carlini_wagner_l2": L2,
    "carlini_wagner_linf": LINF,
    "ddn": L2,
    "df": BOTH,
    "fab": BOTH,
    "fmn": BOTH,
    "pdgd": L2,
    "pdpgd": BOTH,
    "pgd_linf": LINF,
    "sdf": L2,
    "tr": BOTH,
}
"""Which norm each function keeps small; the others count pixels or measure colours."""


@dataclass(frozen=True)
class AdvlibAttack(OthersAttack):
    """What all of them share."""

    library: ClassVar[str] = "advlib"

    def attack(self, network: nn.Module, x: Tensor, y: Tensor, given: Given) -> Tensor:
        """Candidates [n, C, H, W] as adv_lib computes them."""
        function = getattr(_attacks(), self.offered)
        order = math.inf if given.budget.norm is Norm.LINF else 2.0
        own = {name: given.budget.radius for name in DECIDED.get(self.offered, ()) if name in ("eps", "ε")}
        known = {parameter.name for parameter in defaults(function)}
        decided = {"norm": order, "p": order, "num_classes": given.num_classes, "targeted": False}
        own |= {name: value for name, value in decided.items() if name in known}
        found: Tensor = function(network, x, y, **own, **self.arguments())
        return found.detach()


def named(name: str) -> AdvlibAttack:
    """Every attack function of adv_lib, with its own parameters: `advlib:pgd_linf`, `advlib:ddn`."""
    attack: AdvlibAttack = looked_up(name, offered(), _made)
    return attack


@functools.cache
def offered() -> tuple[str, ...]:
    """The names of all its attacks."""
    return tuple(name for name, held in sorted(vars(_attacks()).items()) if inspect.isfunction(held))


def __getattr__(name: str) -> type[AdvlibAttack]:
    if name.startswith("_") or not _installed() or name not in offered():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _made(name)


@functools.cache
def _made(name: str) -> type[Any]:
    function = getattr(_attacks(), name)
    told = Told(
        needs="gradients",
        norms=NORMS.get(name, ()),
        unfit=None if name in NORMS else "keeps to neither norm, expected an attack under Linf or L2",
        doc=function.__doc__,
        about={
            key: text
            for key, (_, text) in documented(function.__doc__, typed_line=True).items()
            if text  # a line of the summary that looks like a parameter has none
        },
    )
    return made(AdvlibAttack, name, defaults(function), (*ALWAYS, *DECIDED.get(name, ())), told)


@functools.cache
def _attacks() -> Any:
    with quiet():
        return library("adv_lib.attacks", "advlib")


def _installed() -> bool:
    return importlib.util.find_spec("adv_lib") is not None


_: type[Attack] = AdvlibAttack
