"""AutoAttack's components as pyautoattack computes them (Croce & Hein, ICML 2020).

The suites `autoattack`, `autoattack_plus` and `autoattack_rand` are the reference ensemble in its three
published compositions; nothing else is called by that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args

from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks.losses import LEAST_CLASSES
from bench.attacks.norms import require_norm
from bench.attacks.others.adapter import library, seeded
from bench.attacks.others.signature import not_offered
from bench.core.threat import LINF_L2_L1, Budget, Norm

Component = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
Version = Literal["standard", "plus", "rand"]

_ATTRIBUTES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "apgd-ce": ("apgd", {"loss": "ce"}),
    "apgd-dlr": ("apgd", {"loss": "dlr"}),
    "apgd-t": ("apgd_targeted", {}),
    "fab": ("fab", {"targeted": False}),
    "fab-t": ("fab", {"targeted": True, "n_restarts": 1}),
    "square": ("square", {}),
}


@dataclass(frozen=True)
class AutoAttackComponent(Attack):
    """One component with the parameters that its version of AutoAttack gives it.

    `rand` averages gradients over 20 passes itself. Targets are at most the wrong classes that there are.
    """

    component: Component = "apgd-ce"
    version: Version = "standard"

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2_L1

    @property
    def minimal(self) -> bool:
        """Whether it looks for the nearest mistake."""
        return self.component.startswith("fab")

    @property
    def needs(self) -> Needs:
        """What it asks for."""
        return "scores" if self.component == "square" else "gradients"

    @property
    def least_classes(self) -> int:
        """How many classes its loss is defined for at least."""
        losses = {"apgd-dlr": "dlr", "apgd-t": "targeted_dlr"}
        return LEAST_CLASSES.get(losses.get(self.component, ""), 2)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W].

        Raises:
            ValueError: there are fewer classes than its loss is defined for.
        """
        require_norm(self, budget)
        if oracle.num_classes < self.least_classes:
            raise ValueError(
                f"{self.component} needs {self.least_classes} classes or more, not {oracle.num_classes}"
            )
        network = oracle.lend(eot=self.version != "rand")
        name, settings = _ATTRIBUTES[self.component]
        with seeded(generator) as seed:
            attack = getattr(self._ensemble(network, x, budget), name)
            for field, value in {**settings, "seed": seed}.items():
                setattr(attack, field, value)
            if getattr(attack, "n_target_classes", 0):
                attack.n_target_classes = min(attack.n_target_classes, oracle.num_classes - 1)
            found: Tensor = attack.perturb(x.clone(), y.clone())
        return found.detach()

    def _ensemble(self, network: Any, x: Tensor, budget: Budget) -> Any:
        whole: Any = library("pyautoattack")
        return whole.AutoAttack(
            network,
            norm=budget.norm.value,
            eps=budget.radius,
            version=self.version,
            device=str(x.device),
            seed=0,
        )


def named(name: str) -> AutoAttackComponent:
    """One component of AutoAttack as pyautoattack computes it: `autoattack:apgd-ce`, `autoattack:square`."""
    _, _, plain = name.partition(":")
    if plain not in offered():
        raise not_offered("autoattack", plain, offered())
    return AutoAttackComponent(cast(Component, plain))


def offered() -> list[str]:
    """The names of all components."""
    return list(get_args(Component))
