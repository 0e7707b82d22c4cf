"""PreActResNet-18 for small images (He, Zhang, Ren, Sun: Identity mappings in residual networks, ECCV 2016).

The form of Rice, Wong and Kolter (Overfitting in adversarially robust deep learning, ICML 2020): shortcuts
leave after the first BatchNorm and ReLU of a block, and a last BatchNorm and ReLU stand before the linear
layer. Parameters are named as in RobustBench, so its checkpoints load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Features
from bench.nn.normalize import Normalize
from bench.nn.pooling import average


class PreActResNet(nn.Module):
    """Four stages of pre-activation blocks; features are [n, 512], the last map is [n, 512, 4, 4] for 32x32.

    The maps of the earlier stages are the ReLU of their residual sums. Some published networks have no last
    BatchNorm and ReLU (`bn_before_fc=False`), and shortcuts that leave before the first ones
    (`out_shortcut=False`); without them the last map is the sum itself, which may be negative.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
        bn_before_fc: bool = True,
        out_shortcut: bool = True,
    ) -> None:
        super().__init__()
        self.bn_before_fc = bn_before_fc
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(image_shape[0], 64, 3, padding=1, bias=False)
        self.layer1 = _stage(64, 64, blocks[0], 1, out_shortcut)
        self.layer2 = _stage(64, 128, blocks[1], 2, out_shortcut)
        self.layer3 = _stage(128, 256, blocks[2], 2, out_shortcut)
        self.layer4 = _stage(256, 512, blocks[3], 2, out_shortcut)
        if bn_before_fc:
            self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        out = self.conv1(self.normalize(x))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.linear(average(self._activated(out)))
        return logits

    def forward_features(self, x: Tensor) -> Features:
        """Logits, pooled features and the maps of the four stages of x [n, C, H, W] in [0, 1]."""
        sum1 = self.layer1(self.conv1(self.normalize(x)))
        sum2 = self.layer2(sum1)
        sum3 = self.layer3(sum2)
        last = self._activated(self.layer4(sum3))
        features = average(last)
        return Features(self.linear(features), features, (F.relu(sum1), F.relu(sum2), F.relu(sum3), last))

    def _activated(self, out: Tensor) -> Tensor:
        return F.relu(self.bn(out)) if self.bn_before_fc else out


class _PreActBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, out_shortcut: bool) -> None:
        super().__init__()
        self.out_shortcut = out_shortcut
        self.changes_shape = stride != 1 or inputs != outputs
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        if self.changes_shape:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        shortcut = x
        if self.changes_shape:
            shortcut = self.shortcut(activated if self.out_shortcut else x)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return out + shortcut


def _stage(inputs: int, outputs: int, blocks: int, stride: int, out_shortcut: bool) -> nn.Sequential:
    rest = [_PreActBlock(outputs, outputs, 1, out_shortcut) for _ in range(blocks - 1)]
    return nn.Sequential(_PreActBlock(inputs, outputs, stride, out_shortcut), *rest)
