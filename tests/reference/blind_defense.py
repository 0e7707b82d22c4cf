"""A linear classifier of fixed weights whose gradient leads nowhere (2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.api import Defense, Deployed, FitContext, Task


class Blind(nn.Module):
    """The logits of a linear layer, with the gradient of another."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        channels, height, width = task.image_shape
        self.linear = nn.Linear(channels * height * width, task.num_classes)
        self.other = nn.Linear(channels * height * width, task.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K]."""
        lead: Tensor = self.other(x.flatten(1))
        logits: Tensor = self.linear(x.flatten(1)).detach() + lead - lead.detach()
        return logits


@dataclass(frozen=True)
class Misled:
    """Weights that a seed decides."""

    paper: ClassVar[str] = "none: a closed form"
    reconstruction: ClassVar[str | None] = None

    weights_seed: int = 0

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """Two linear layers, of which one answers and the other leads."""
        return Blind(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Draw the weights; nothing is learned."""
        generator = torch.Generator().manual_seed(self.weights_seed)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)

    def deploy(self, net: nn.Module) -> Deployed:
        """The layers as they are."""
        return Deployed(predict=net)


_: Defense = Misled()
