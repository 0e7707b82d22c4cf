"""The attacks of torchattacks (Kim, arXiv 2010.01950, 2020), every class of it by its own name.

Steps of most of them are in pixel units and made for eps 8/255, as the library has it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.api import Needs
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

DECIDED = ("self", "model", "norm", "eps", "max_epsilon", "seed", "verbose", "n_classes")

NEEDS: dict[str, Needs] = {
    "GN": "labels",
    "OnePixel": "scores",
    "Pixle": "scores",
    "SPSA": "scores",
    "Square": "scores",
    "VANILA": "labels",
}
"""What an attack asks for that does without gradients."""


MINIMAL = ("CW", "DeepFool", "EADEN", "EADL1", "FAB", "JSMA", "SparseFool")
"""What looks for the nearest mistake rather than for any within a radius."""

COUNTS = {"num_iter_set": "int"}
"""Parameters that are counts although their documentation says otherwise."""


@dataclass(frozen=True)
class TorchattacksAttack(OthersAttack):
    """What all of them share."""

    library: ClassVar[str] = "torchattacks"

    @property
    def averages(self) -> bool:
        """Whether it averages the gradients of a randomized defense itself."""
        given = self.arguments()
        return given.get("eot_iter", 1) > 1 or given.get("version") == "rand"

    @property
    def least_classes(self) -> int:
        """How many classes its loss is defined for at least."""
        given = self.arguments()
        if self.offered == "APGDT" or given.get("version") in ("standard", "plus"):
            return LEAST_CLASSES["targeted_dlr"]
        is_dlr = given.get("loss") == "dlr" or given.get("version") == "rand"
        return LEAST_CLASSES["dlr"] if is_dlr else 2

    def attack(self, network: nn.Module, x: Tensor, y: Tensor, given: Given) -> Tensor:
        """Candidates [n, C, H, W] as torchattacks computes them."""
        offered = getattr(_package(), self.offered)
        radius = given.budget.radius
        decided = {
            "norm": given.budget.norm.value,
            "eps": radius,
            "max_epsilon": radius,
            "seed": given.seed,
            "verbose": False,
            "n_classes": given.num_classes,
        }
        known = {parameter.name for parameter in defaults(offered)}
        own = {name: value for name, value in decided.items() if name in known}
        attack = offered(network, **own, **self.arguments())
        attack.set_device(x.device)  # it looks for the device among parameters, and what is lent has none
        found: Tensor = attack(x, y)
        return found.detach()


def named(name: str) -> TorchattacksAttack:
    """Every attack class of torchattacks, with its own parameters: `torchattacks:PGD`, `torchattacks:CW`."""
    attack: TorchattacksAttack = looked_up(name, offered(), _made)
    return attack


def offered() -> list[str]:
    """The names of all its attacks."""
    return sorted(_package().__all__)


def __getattr__(name: str) -> type[TorchattacksAttack]:
    if not name[:1].isupper() or name not in offered():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _made(name)


@functools.cache
def _made(name: str) -> type[Any]:
    attack = getattr(_package(), name)
    parameters = defaults(attack)
    told = documented(attack.__doc__)
    eps = next((parameter.default for parameter in parameters if parameter.name == "eps"), None)
    norms, unfit = _norms(attack)
    return made(
        TorchattacksAttack,
        name,
        parameters,
        DECIDED,
        Told(
            needs=NEEDS.get(name, "gradients"),
            norms=norms,
            minimal=name in MINIMAL,
            unfit=unfit,
            doc=attack.__doc__,
            about={key: text for key, (_, text) in told.items()},
            types={key: kind for key, (kind, _) in told.items()} | COUNTS,
            made_for={"alpha": Fraction(eps).limit_denominator(1000)} if isinstance(eps, float) else {},
        ),
    )


def _norms(attack: Any) -> tuple[tuple[Norm, ...], str | None]:
    """The norms that its docstring states; none are stated for noise, which the referee projects."""
    stated = re.search(r"Distance Measure\s*:\s*(.*)", attack.__doc__ or "")
    if stated is None:
        return tuple(Norm), None
    norms = tuple(norm for norm in Norm if norm.value in stated[1])
    if attack.__name__ == "FAB":
        norms = (Norm.LINF, Norm.L2)  # its L1 ends in an error of its own
    if norms:
        return norms, None
    return (), f"is measured by {stated[1].strip()}, expected an attack that keeps to a norm"


@functools.cache
def _package() -> Any:
    with quiet():
        return library("torchattacks", "torchattacks")
