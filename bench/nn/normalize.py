"""Normalisation as the first layer of a network, so that images stay in [0, 1] everywhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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


SCALINGS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of each channel, or of all, by the names that people know them by."""


def scaling(text: str, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
    """The mean and the standard deviation of each channel that a name or `MEAN/STD` says; None: none.

    >>> scaling("half", 3)
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> scaling("0.1/0.2,0.4", 2)
    ((0.1, 0.1), (0.2, 0.4))

    Raises:
        BadValue: it says nothing of the kind, or not for so many channels.
    """
    if text in ("", "none", "task"):
        return None
    mean, std = SCALINGS[text] if text in SCALINGS else _numbers(text)
    if channels > 1:  # one channel may be asked about to see whether the text is right
        for values in (mean, std):
            if len(values) not in (1, channels):
                raise BadValue(
                    f"normalize is {text!r}, which is for {len(values)} channels, expected the {channels} of "
                    "the images",
                )
    return _of_each(mean, channels), _of_each(std, channels)


def _of_each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values[:channels]


def _numbers(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        mean, std = (tuple(float(value) for value in part.split(",")) for part in text.split("/"))
    except ValueError:
        mean, std = (), ()
    if not mean or min(std) <= 0 or not all(map(math.isfinite, (*mean, *std))):
        raise BadValue(
            f"normalize is {text!r}, expected none, task, {', '.join(SCALINGS)} or MEAN/STD, STD above 0",
            "--normalize 0.5,0.5,0.5/0.25,0.25,0.25",
        )
    return mean, std
