"""A purifier that halves the contrast, before a linear classifier of fixed weights (2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.api import Defense, Deployed, Features, FitContext, Task

SEED = 6
"""Of weights that tell random images apart about evenly."""


class Halve(nn.Module):
    """Pixels half as far from gray."""

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, C, H, W] in [1/4, 3/4]."""
        return x / 2 + 0.25


class Pixels(nn.Module):
    """A linear classifier whose features are the pixels, and whose feature map is the image."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        channels, height, width = task.image_shape
        self.linear = nn.Linear(channels * height * width, task.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        logits: Tensor = self.linear(x.flatten(1))
        return logits

    def forward_features(self, x: Tensor) -> Features:
        """The same with the pixels as features."""
        return Features(self(x), x.flatten(1), (x,))


class Purified(nn.Module):
    """classifier(purifier(x))."""

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.purifier, self.classifier = purifier, classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        logits: Tensor = self.classifier(self.purifier(x))
        return logits


@dataclass(frozen=True)
class Halving:
    """Weights that a seed decides."""

    paper: ClassVar[str] = "none: a closed form"
    reconstruction: ClassVar[str | None] = None

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """Purifier and classifier."""
        return Purified(Halve(), Pixels(task))

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Draw the weights; nothing is learned."""
        generator = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)

    def deploy(self, net: nn.Module) -> Deployed:
        """End to end, and the classifier for those who know no more."""
        return Deployed(predict=net, classifier=net.classifier)  # type: ignore[arg-type]


_: Defense = Halving()
