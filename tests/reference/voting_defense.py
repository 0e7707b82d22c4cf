"""A plane between two classes, behind the votes of noisy copies: its radius is the distance (2026)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bench.api import Defense, Deployed, FitContext, Task
from bench.nn.smoothed import deploy_smoothed


@dataclass(frozen=True)
class Voting:
    """Class 1 where the pixels' mean is above a half, by the votes of copies with noise of sigma."""

    paper: ClassVar[str] = "none: a closed form"
    reconstruction: ClassVar[str | None] = None
    certificate: ClassVar[str] = "smoothing"

    sigma: float = 0.5
    votes: int = 50

    @property
    def requires(self) -> dict[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """A flat linear layer."""
        channels, height, width = task.image_shape
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, task.num_classes))

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Write the weights down."""
        layer = net[1]  # type: ignore[index]
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand_as(layer.weight))
            layer.bias.copy_(torch.tensor([1.0, -1.0]) * layer.in_features / 2)

    def deploy(self, net: nn.Module) -> Deployed:
        """The votes."""
        return deploy_smoothed(net, self.sigma, self.votes, 16)


_: Defense = Voting()
