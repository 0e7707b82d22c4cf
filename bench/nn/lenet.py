"""A LeNet after LeCun, Bottou, Bengio & Haffner, Proc. IEEE 1998; wider, with ReLU and max pooling.

Two convolutions of 5x5 (16, pool, 32, pool) and two linear layers (256, K), without BatchNorm; the transfer
surrogate of small_cnn. One forward pass costs about 3.2 million multiply-adds for 28x28 grey images.
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


class LeNet(nn.Module):
    """Penultimate features are [n, 256]; the feature maps are those of both convolutions before pooling."""

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
            raise BadValue(f"lenet got {height}x{width} images, expected at least {SMALLEST}x{SMALLEST}")
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(channels, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.fc1 = nn.Linear(32 * (height // 4) * (width // 4), 256)
        self.linear = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        logits: Tensor = self.linear(self._penultimate(self._stages(x)[-1]))
        return logits

    def forward_features(self, x: Tensor) -> Features:
        """Logits, penultimate features and both feature maps of x [n, C, H, W] in [0, 1]."""
        stages = self._stages(x)
        features = self._penultimate(stages[-1])
        return Features(self.linear(features), features, stages)

    def _stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = F.relu(self.conv1(self.normalize(x)))
        return first, F.relu(self.conv2(F.max_pool2d(first, 2)))

    def _penultimate(self, feature_map: Tensor) -> Tensor:
        return F.relu(self.fc1(F.max_pool2d(feature_map, 2).flatten(1)))
