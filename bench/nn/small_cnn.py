"""A small convolutional network for digits and other small images, after Zhang et al., TRADES, ICML 2019.

Four convolutions (32, 32, pool, 64, 64, pool) and three linear layers (200, 200, K), without BatchNorm. One
forward pass costs about 10 million multiply-adds for 28x28 grey, 15 million for 32x32 RGB and 1.6 million for
8x8 grey images, where a ResNet-18 needs 555 million for 32x32: adversarial training on a CPU takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Features
from bench.errors import BadValue
from bench.nn.normalize import Normalize

SMALLEST = 4
"""The least height and width: two poolings must leave something."""

PADDED_BELOW = 16
"""Images smaller than this are padded at every convolution, the others at none, as in TRADES."""


class SmallCNN(nn.Module):
    """Two stages of two convolutions; features are [n, 200], the last map is [n, 64, 8, 8] for 28x28."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < SMALLEST:
            raise BadValue(f"small_cnn got {height}x{width} images, expected at least {SMALLEST}x{SMALLEST}")
        padding = 1 if min(height, width) < PADDED_BELOW else 0
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=padding)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=padding)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=padding)
        self.conv4 = nn.Conv2d(64, 64, 3, padding=padding)
        inputs = 64 * _side_left(height, padding) * _side_left(width, padding)
        self.fc1 = nn.Linear(inputs, 200)
        self.fc2 = nn.Linear(200, 200)
        self.linear = nn.Linear(200, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        logits: Tensor = self.linear(self._penultimate(self._second(self._first(x))))
        return logits

    def forward_features(self, x: Tensor) -> Features:
        """Logits, penultimate features and the maps of the two stages of x [n, C, H, W] in [0, 1]."""
        map1 = self._first(x)
        map2 = self._second(map1)
        features = self._penultimate(map2)
        return Features(self.linear(features), features, (map1, map2))

    def _first(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(self.normalize(x)))))

    def _second(self, map1: Tensor) -> Tensor:
        return F.relu(self.conv4(F.relu(self.conv3(F.max_pool2d(map1, 2)))))

    def _penultimate(self, map2: Tensor) -> Tensor:
        out = F.relu(self.fc1(F.max_pool2d(map2, 2).flatten(1)))
        return F.relu(self.fc2(out))


def _side_left(side: int, padding: int) -> int:
    lost = 0 if padding else 4  # two convolutions of 3 without padding lose four pixels
    return ((side - lost) // 2 - lost) // 2
