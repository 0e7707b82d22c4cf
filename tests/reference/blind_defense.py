"""A linear classifier of fixed weights whose gradient leads nowhere (2026)."""

from __future__ import annotations

from dataclasses import dataclass

from linear_defense import Linear
from torch import Tensor, nn

from bench.api import Task


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
