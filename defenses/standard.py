"""Natural training (no paper, the usual since 1986): cross-entropy on clean images; nothing is defended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier
from defenses.losses import Smoothing, smoothed_cross_entropy


@dataclass(frozen=True)
class Standard:
    """Minimise CE(z(x), y)."""

    paper: ClassVar[str] = "natural training (no paper)"
    reconstruction: ClassVar[str | None] = None

    label_smoothing: float = 0.0
    smoothing: Smoothing = "shared"  # shared: s/(K-1) for every wrong class; spread: PyTorch's convention

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise BadValue(f"label_smoothing is {self.label_smoothing}, expected a share in [0, 1)")

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place."""

        def step(model: nn.Module, batch: Batch) -> Terms:
            logits = model(batch.x)
            return {"clean": smoothed_cross_entropy(logits, batch.y, self.label_smoothing, self.smoothing)}

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        """The classifier as it is."""
        return Deployed(predict=net)


_: Defense = Standard()
