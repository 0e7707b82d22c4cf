"""Normalisation as the first layer of a network, so that images stay in [0, 1] everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.errors import BadValue


class Normalize(nn.Module):
    """Subtracts a mean and divides by a standard deviation, for each channel.

    The buffers are not persistent: they belong to the task, and a checkpoint's keys stay those of the bare
    network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean:
            raise BadValue(
                f"the mean has {len(mean)} and the std {len(std)} channels, expected equal numbers"
            )
        if min(std) <= 0:
            raise BadValue(f"the std of a channel is {min(std)}, expected a positive number")
        self.register_buffer("mean", torch.tensor(mean).float().view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).float().view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images of x [n, C, H, W] in [0, 1]."""
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        """The numbers, as `print(network)` shows them."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
