"""Small networks of many kinds, that the product does not have: no check may accuse what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from zoo import layers

from bench.api import Task
from bench.nn.normalize import Normalize


def linear(channels: int, side: int, classes: int) -> list[nn.Module]:
    """One layer."""
    return [nn.Flatten(), nn.Linear(channels * side**2, classes)]


def k_winners(channels: int, side: int, classes: int) -> list[nn.Module]:
    """Three hidden layers, k-WTA in the place of ReLU: the one here that is not honest."""
    parts: list[nn.Module] = [nn.Flatten()]
    width = channels * side**2
    for _ in range(3):
        parts += [nn.Linear(width, 512), layers.KWinners(0.1)]
        width = 512
    return [*parts, nn.Linear(width, classes)]


def pooling(channels: int, side: int, classes: int) -> list[nn.Module]:
    """Convolutions and average pooling."""
    return [
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, classes)),
    ]


def layer_norm(channels: int, side: int, classes: int) -> list[nn.Module]:
    """Two hidden layers with LayerNorm and GELU."""
    parts: list[nn.Module] = [nn.Flatten()]
    width = channels * side**2
    for _ in range(2):
        parts += [nn.Linear(width, 128), nn.LayerNorm(128), nn.GELU()]
        width = 128
    return [*parts, nn.Linear(width, classes)]


def group_norm(channels: int, side: int, classes: int) -> list[nn.Module]:
    """Convolutions and GroupNorm."""
    return [
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.GroupNorm(4, 32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * (side // 2) ** 2, classes)),
    ]


def patches(channels: int, side: int, classes: int) -> list[nn.Module]:
    """A vision transformer of two blocks on patches of 2 x 2 pixels."""
    return [Patches(channels, side), nn.Linear(32, classes)]


class Patches(nn.Module):
    """Patches with learned places, two transformer blocks, and the mean of their tokens [n, 32]."""

    def __init__(self, channels: int, side: int, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, 2, stride=2)
        self.place = nn.Parameter(0.02 * torch.randn((side // 2) ** 2, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features [n, 32]."""
        tokens: Tensor = self.embed(x).flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.mean(1)


KINDS: Mapping[str, Callable[[int, int, int], list[nn.Module]]] = {
    "linear": linear,
    "k_winners": k_winners,
    "pooling": pooling,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "patches": patches,
}
"""Name -> the layers for images of so many channels, so many pixels wide and high, and so many classes."""


def small(kind: str, task: Task) -> nn.Module:
    """A network [n, C, H, W] -> logits [n, K] of this kind, normalisation first."""
    channels, side, _ = task.image_shape
    return nn.Sequential(Normalize(task.mean, task.std), *KINDS[kind](channels, side, task.num_classes))
