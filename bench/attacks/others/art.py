"""The attacks of the Adversarial Robustness Toolbox (Nicolae et al., arXiv 1807.01069, 2018), by class name.

It works on numpy arrays: images go to the host and come back. Its steps are in pixel units and made for eps
0.3; attacks whose batch is one image are slow unless `batch_size` is set.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import logging
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import torch
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

DECIDED = ("self", "classifier", "estimator", "norm", "eps", "targeted", "verbose", "summary_writer")
DECIDED_FOR = {
    "AutoAttack": ("attacks", "estimator_orig", "parallel_pool_size"),
    "LaserAttack": ("debug",),
}
"""What is left as it is, because it is no parameter of the attack."""

BOTH, LINF, L2 = (Norm.LINF, Norm.L2), (Norm.LINF,), (Norm.L2,)
THREE, L0 = (*BOTH, Norm.L1), (Norm.L0,)
NORMS = {
    "AutoAttack": THREE,
    "AutoConjugateGradient": THREE,
    "AutoProjectedGradientDescent": THREE,
    "BasicIterativeMethod": LINF,
    "BoundaryAttack": L2,
    "CarliniL2Method": L2,
    "CarliniLInfMethod": LINF,
    "DeepFool": L2,
    "ElasticNet": (Norm.L2, Norm.L1),
    "FastGradientMethod": THREE,
    "GeoDA": BOTH,
    "HopSkipJump": BOTH,
    "MomentumIterativeMethod": THREE,
    "NewtonFool": L2,
    "ProjectedGradientDescent": THREE,
    "ProjectedGradientDescentNumpy": THREE,
    "ProjectedGradientDescentPyTorch": THREE,
    "RescalingAutoConjugateGradient": THREE,
    "SaliencyMapMethod": L0,
    "SignOPTAttack": L2,
    "SimBA": L2,
    "SquareAttack": THREE,
    "PixelAttack": L0,
    "ThresholdAttack": LINF,
    "UniversalPerturbation": BOTH,
    "VirtualAdversarialMethod": L2,
    "ZooAttack": L2,
}
"""Which norm each attack keeps to or keeps small; the others patch, turn, or need more than an image."""

ORDER = {Norm.LINF: math.inf, Norm.L2: 2, Norm.L1: 1, Norm.L0: 0}

MINIMAL = (
    "BoundaryAttack",
    "BrendelBethgeAttack",
    "CarliniL2Method",
    "CarliniLInfMethod",
    "DeepFool",
    "ElasticNet",
    "GeoDA",
    "HopSkipJump",
    "NewtonFool",
    "SaliencyMapMethod",
    "SignOPTAttack",
    "ZooAttack",
)
"""What looks for the nearest mistake rather than for any within a radius."""

NEEDS: dict[str, Needs] = {
    "BoundaryAttack": "labels",
    "GeoDA": "labels",
    "HopSkipJump": "labels",
    "SignOPTAttack": "labels",
    "SimBA": "scores",
    "SquareAttack": "scores",
    "PixelAttack": "scores",
    "ThresholdAttack": "scores",
    "VirtualAdversarialMethod": "scores",
    "ZooAttack": "scores",
}
"""What an attack asks for that does without gradients."""

UNFIT = "makes no small change of an image that a norm of ours measures, expected an attack that does"


@dataclass(frozen=True)
class ArtAttack(OthersAttack):
    """What all of them share."""

    library: ClassVar[str] = "art"

    @property
    def least_classes(self) -> int:
        """How many classes its loss is defined for at least."""
        loss = self.arguments().get("loss_type")
        is_dlr = loss == "difference_logits_ratio" or self.offered == "AutoAttack"
        return LEAST_CLASSES["dlr"] if is_dlr else 2

    def attack(self, network: nn.Module, x: Tensor, y: Tensor, given: Given) -> Tensor:
        """Candidates [n, C, H, W] as the toolbox computes them."""
        offered = getattr(_attacks(), self.offered)
        classifier = library("art.estimators.classification", "art").PyTorchClassifier(
            model=_Single(network),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=given.num_classes,
            clip_values=(0.0, 1.0),
            device_type="gpu" if x.device.type == "cuda" else "cpu",
        )
        decided = {
            "norm": ORDER[given.budget.norm],
            "eps": given.budget.radius,
            "targeted": False,
            "verbose": False,
        }
        known = {parameter.name for parameter in defaults(offered)}
        own = {name: value for name, value in decided.items() if name in known}
        attack = offered(classifier, **own, **self.arguments())
        found = attack.generate(x=x.cpu().numpy(), y=y.cpu().numpy())
        return torch.from_numpy(found).to(x)


class _Single(nn.Module):
    """A network that takes images of any precision: some attacks hand over double."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.float())
        return logits


def named(name: str) -> ArtAttack:
    """Every evasion attack of ART, with its own parameters: `art:DeepFool`, `art:HopSkipJump`."""
    attack: ArtAttack = looked_up(name, offered(), _made)
    return attack


@functools.cache
def offered() -> tuple[str, ...]:
    """The names of all its evasion attacks."""
    base = library("art.attacks", "art").EvasionAttack
    kinds = {name: kind for name, kind in vars(_attacks()).items() if inspect.isclass(kind)}
    return tuple(name for name, kind in sorted(kinds.items()) if issubclass(kind, base))


def __getattr__(name: str) -> type[ArtAttack]:
    if not name[:1].isupper() or not _installed() or name not in offered():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _made(name)


@functools.cache
def _made(name: str) -> type[Any]:
    attack = getattr(_attacks(), name)
    parameters = defaults(attack)
    written = documented(attack.__init__.__doc__)
    eps = next((parameter.default for parameter in parameters if parameter.name == "eps"), None)
    return made(
        ArtAttack,
        name,
        parameters,
        (*DECIDED, *DECIDED_FOR.get(name, ())),
        Told(
            needs=NEEDS.get(name, "gradients"),
            norms=NORMS.get(name, ()),
            minimal=name in MINIMAL,
            unfit=None if name in NORMS else UNFIT,
            doc=attack.__doc__,
            about={key: text for key, (_, text) in written.items()},
            made_for={"eps_step": Fraction(str(eps))} if isinstance(eps, float) else {},
        ),
    )


@functools.cache
def _attacks() -> Any:
    with quiet():
        logging.getLogger("art").setLevel(logging.ERROR)  # it warns of every default that it takes
        return library("art.attacks.evasion", "art")


def _installed() -> bool:
    return importlib.util.find_spec("art") is not None
