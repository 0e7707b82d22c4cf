"""A linear classifier of fixed weights behind something that an attacker must get past (2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench.api import Defense, Deployed, FitContext, Task

LEVELS = 64


class Quantise(nn.Module):
    """Rounds pixels to 65 levels: images on this grid are as they were, and no gradient passes."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * LEVELS).round() / LEVELS


class Noisy(nn.Module):
    """Adds noise to the logits of a network, at test time, too."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return logits + 1e-5 * torch.randn_like(logits)


@dataclass(frozen=True)
class Layered:
    """Logits W x + b with weights that never change."""

    paper: ClassVar[str] = "none: a closed form"
    reconstruction: ClassVar[str | None] = None

    kind: Literal["plain", "quantised", "noisy", "detecting", "blunt"] = "quantised"

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """A flat linear layer."""
        channels, height, width = task.image_shape
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, task.num_classes))

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Draw the weights, both classes alike for a grey image; nothing is learned."""
        weight, bias = net.parameters()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=generator) / 4)
            bias.copy_(-weight.sum(1) / 2)

    def deploy(self, net: nn.Module) -> Deployed:
        """The layer behind what its kind says."""
        if self.kind == "quantised":
            return Deployed(nn.Sequential(Quantise(), net), classifier=net, purifier=Quantise())
        if self.kind == "noisy":
            return Deployed(Noisy(net), randomized=True, eot_samples=3)
        if self.kind == "detecting":
            return Deployed(net, detector=lambda x: suspicion(x) > 0, suspicion=suspicion)
        if self.kind == "blunt":
            return Deployed(net, detector=lambda x: suspicion(x) > 0)
        return Deployed(net)


def suspicion(x: Tensor) -> Tensor:
    """Above 0 where the pixels of the image are bright on the whole."""
    return x.flatten(1).mean(1) - 0.6


_: Defense = Layered()
