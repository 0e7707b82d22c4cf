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

from bench.attacks.losses import LEAST_CLASSES
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

BOTH, LINF, L2, L0 = (Norm.LINF, Norm.L2), (Norm.LINF,), (Norm.L2,), (Norm.L0,)
NORMS = {
    "alma": (Norm.L2, Norm.L1),
    "apgd": (*BOTH, Norm.L1),
    "apgd_targeted": (*BOTH, Norm.L1),
    "carlini_wagner_l2": L2,
    "carlini_wagner_linf": LINF,
    "ddn": L2,
    "df": BOTH,
    "fab": (*BOTH, Norm.L1),
    "fga": L0,
    "fmn": tuple(Norm),
    "pdgd": L2,
    "pdpgd": tuple(Norm),
    "pgd_linf": LINF,
    "sdf": L2,
    "sigma_zero": L0,
    "tr": BOTH,
    "vfga": L0,
}
"""Which norms each function keeps to or keeps small; the others measure colours or groups of pixels."""

ORDER = {Norm.LINF: math.inf, Norm.L2: 2.0, Norm.L1: 1.0, Norm.L0: 0.0}

BOUNDED = ("apgd", "apgd_targeted", "pgd_linf")
"""What stays within a radius; all others look for the nearest mistake."""


@dataclass(frozen=True)
class AdvlibAttack(OthersAttack):
    """What all of them share."""

    library: ClassVar[str] = "advlib"

    @property
    def least_classes(self) -> int:
        """How many classes its loss is defined for at least."""
        if str(self.arguments().get("loss_function")).lower() != "dlr":
            return 2
        return LEAST_CLASSES["targeted_dlr" if self.offered == "apgd_targeted" else "dlr"]

    def attack(self, network: nn.Module, x: Tensor, y: Tensor, given: Given) -> Tensor:
        """Candidates [n, C, H, W] as adv_lib computes them."""
        function = getattr(_attacks(), self.offered)
        norm = given.budget.norm
        own = {name: given.budget.radius for name in DECIDED.get(self.offered, ()) if name in ("eps", "ε")}
        known = {parameter.name for parameter in defaults(function)}
        order: Any = ORDER[norm]
        decided = {"norm": order, "p": order, "num_classes": given.num_classes, "targeted": False}
        decided["distance"] = norm.value.lower()  # of alma
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
        minimal=name in NORMS and name not in BOUNDED,
        unfit=None if name in NORMS else "keeps to no norm of ours, expected an attack that does",
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
