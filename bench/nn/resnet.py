"""ResNet-18 for small images (He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016).

The stem is a 3x3 convolution of stride 1 without pooling, as the robustness literature has it for CIFAR;
parameters are named as in RobustBench, so its checkpoints load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Features
from bench.nn.normalize import Normalize
from bench.nn.pooling import average


class ResNet(nn.Module):
    """Four stages of basic blocks; features are [n, 512], the last map is [n, 512, 4, 4] for 32x32 images."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(image_shape[0], 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks[0], stride=1)
        self.layer2 = _stage(64, 128, blocks[1], stride=2)
        self.layer3 = _stage(128, 256, blocks[2], stride=2)
        self.layer4 = _stage(256, 512, blocks[3], stride=2)
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        out = self.layer4(self.layer3(self.layer2(self.layer1(self._stem(x)))))
        logits: Tensor = self.linear(average(out))
        return logits

    def forward_features(self, x: Tensor) -> Features:
        """Logits, pooled features and the maps of the four stages of x [n, C, H, W] in [0, 1]."""
        map1 = self.layer1(self._stem(x))
        map2 = self.layer2(map1)
        map3 = self.layer3(map2)
        map4 = self.layer4(map3)
        features = average(map4)
        return Features(self.linear(features), features, (map1, map2, map3, map4))

    def _stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(self.normalize(x))))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input goes, by a 1x1 convolution where sizes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps [n, outputs, H / stride, W / stride] of maps [n, inputs, H, W]."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)
