"""A small convolutional network for small images, in the spirit of the one in Wong, Rice & Kolter, ICLR 2020.

Two convolutions (16 and 32 channels) and two linear layers (128, K), without BatchNorm. Larger images are
first folded by two into channels, which on a CPU makes the gradient of an image far cheaper than a strided
convolution does. One forward pass costs about 0.4 million multiply-adds for 28x28 grey images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Features
from bench.errors import BadValue
from bench.nn.normalize import Normalize

SMALLEST = 4
"""The least height and width."""

FOLDED_FROM = 16
"""Images at least this large are folded by two first."""


class SmallCNN(nn.Module):
    """Penultimate features are [n, 128]; the last feature map is, for 28x28, [n, 32, 7, 7]."""

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
        self.factor = 2 if min(height, width) >= FOLDED_FROM else 1
        self.padding = (0, width % self.factor, 0, height % self.factor)  # odd sides gain a column or row
        rows, columns = -(-height // self.factor), -(-width // self.factor)
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(channels * self.factor**2, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 2, stride=2)
        self.fc1 = nn.Linear(32 * (rows // 2) * (columns // 2), 128)
        self.linear = nn.Linear(128, num_classes)

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
        folded = F.pixel_unshuffle(F.pad(self.normalize(x), self.padding), self.factor)
        first = F.relu(self.conv1(folded))
        return first, F.relu(self.conv2(first))

    def _penultimate(self, feature_map: Tensor) -> Tensor:
        return F.relu(self.fc1(feature_map.flatten(1)))
