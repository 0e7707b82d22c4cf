"""A residual network with BatchNorm that two cores can train adversarially on 32x32 colour images.

Images of at least 16x16 are folded by two into channels, as in `small_cnn`; then come a stem of 48 channels
and four basic blocks (He, Zhang, Ren, Sun, CVPR 2016) of 48, 96, 192 and 192 channels: 1.36 million
parameters. One forward pass costs 39 million multiply-adds for a 32x32 colour image, a fourteenth of
ResNet-18's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Features
from bench.nn.normalize import Normalize
from bench.nn.pooling import average
from bench.nn.resnet import BasicBlock
from bench.nn.small_cnn import FOLDED_FROM

_BLOCKS = ((48, 48, 1), (48, 96, 2), (96, 192, 2), (192, 192, 1))
"""Channels in and out, and stride."""


class SmallResNet(nn.Module):
    """Penultimate features are [n, 192]; the last map is [n, 192, 4, 4] for 32x32 images."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.factor = 2 if min(height, width) >= FOLDED_FROM else 1
        self.padding = (0, width % self.factor, 0, height % self.factor)  # odd sides gain a column or row
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(channels * self.factor**2, _BLOCKS[0][0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_BLOCKS[0][0])
        self.block1, self.block2, self.block3, self.block4 = (BasicBlock(*sizes) for sizes in _BLOCKS)
        self.linear = nn.Linear(_BLOCKS[-1][1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        logits: Tensor = self.linear(average(self._maps(x)[-1]))
        return logits

    def forward_features(self, x: Tensor) -> Features:
        """Logits, pooled features and the maps of the four blocks of x [n, C, H, W] in [0, 1]."""
        maps = self._maps(x)
        features = average(maps[-1])
        return Features(self.linear(features), features, maps)

    def _maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        folded = F.pixel_unshuffle(F.pad(self.normalize(x), self.padding), self.factor)
        map1 = self.block1(F.relu(self.bn1(self.conv1(folded))))
        map2 = self.block2(map1)
        map3 = self.block3(map2)
        return map1, map2, map3, self.block4(map3)
