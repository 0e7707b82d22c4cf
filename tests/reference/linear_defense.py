"""A linear classifier of fixed weights as a defense: its worst case has a closed form (2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.api import Defense, Deployed, FitContext, Task


@dataclass(frozen=True)
class Linear:
    """Logits W x + b with weights that a seed decides."""

    paper: ClassVar[str] = "none: a closed form"
    reconstruction: ClassVar[str | None] = None

    weights_seed: int = 0

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """A flat linear layer."""
        channels, height, width = task.image_shape
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, task.num_classes))

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Draw the weights; nothing is learned."""
        generator = torch.Generator().manual_seed(self.weights_seed)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)

    def deploy(self, net: nn.Module) -> Deployed:
        """The layer as it is."""
        return Deployed(predict=net)


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
class Misled(Linear):
    """The same with two layers, of which one answers and the other leads."""

    def build(self, task: Task) -> nn.Module:
        """Both layers; `fit` draws the weights of each."""
        return Blind(task)


_: Defense = Linear()
