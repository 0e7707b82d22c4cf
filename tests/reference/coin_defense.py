"""A linear classifier that answers wrongly three times in ten, whatever the image (2026).

No attack can do anything to it that luck does not, and most of nine answers are right for 90 % of examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.api import Defense, Deployed, FitContext, Task

WRONG = 0.3


class Coin(nn.Module):
    """The logits, or by chance their negatives: of two classes the other one."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        channels, height, width = task.image_shape
        self.linear = nn.Linear(channels * height * width, task.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 2]."""
        wrong = torch.rand(len(x), 1, device=x.device) < WRONG
        logits: Tensor = self.linear(x.flatten(1))
        return torch.where(wrong, -logits, logits)


@dataclass(frozen=True)
class Tossed:
    """Fixed weights, so that only the coin is random; nothing is learned."""

    paper: ClassVar[str] = "none: a coin"
    reconstruction: ClassVar[str | None] = None

    blind: bool = False  # one class whatever the image, the coin apart

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """A linear layer and a coin."""
        return Coin(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Draw the weights of the linear reference defense."""
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
            if self.blind:
                net.linear.weight.zero_()  # type: ignore[union-attr,operator]

    def deploy(self, net: nn.Module) -> Deployed:
        """The coin, which says that it is one."""
        return Deployed(predict=net, randomized=True)


_: Defense = Tossed()
