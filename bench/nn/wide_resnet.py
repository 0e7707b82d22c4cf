"""Wide residual networks for small images (Zagoruyko and Komodakis, BMVC 2016).

Parameters are named as in RobustBench, so its checkpoints load strictly, also those that carry the weights
of a block `sub_block1` that their forward pass never uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Features
from bench.errors import BadValue
from bench.nn.normalize import Normalize
from bench.nn.pooling import average


class WideResNet(nn.Module):
    """Three stages of (depth - 4) / 6 blocks; features are [n, 64 width], the last map is 8x8 for 32x32.

    The maps of the earlier stages are the ReLU of their residual sums.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        depth: int = 28,
        width: int = 10,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise BadValue(
                f"a wide ResNet got depth {depth}, expected 6n + 4 such as 16, 28 or 34",
                "--arch wide_resnet_28_10",
            )
        if width < 1:
            raise BadValue(
                f"a wide ResNet got width {width}, expected at least 1", "--arch wide_resnet_28_10"
            )
        blocks = (depth - 4) // 6
        self.normalize = Normalize(mean, std)
        self.conv1 = nn.Conv2d(image_shape[0], 16, 3, padding=1, bias=False)
        self.block1 = _Stage(16, 16 * width, blocks, stride=1)
        self.block2 = _Stage(16 * width, 32 * width, blocks, stride=2)
        self.block3 = _Stage(32 * width, 64 * width, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        self.register_load_state_dict_pre_hook(_drop_unused_block)  # type: ignore[no-untyped-call]
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, K] of x [n, C, H, W] in [0, 1]."""
        out = self.block3(self.block2(self.block1(self.conv1(self.normalize(x)))))
        logits: Tensor = self.fc(average(F.relu(self.bn1(out))))
        return logits

    def forward_features(self, x: Tensor) -> Features:
        """Logits, pooled features and the maps of the three stages of x [n, C, H, W] in [0, 1]."""
        sum1 = self.block1(self.conv1(self.normalize(x)))
        sum2 = self.block2(sum1)
        last = F.relu(self.bn1(self.block3(sum2)))
        features = average(last)
        return Features(self.fc(features), features, (F.relu(sum1), F.relu(sum2), last))


class _Stage(nn.Module):  # only there for the name `layer` in the keys
    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int) -> None:
        super().__init__()
        rest = [_BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
        self.layer = nn.Sequential(_BasicBlock(inputs, outputs, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.changes_width = inputs != outputs
        if self.changes_width:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x))
        shortcut = self.convShortcut(activated) if self.changes_width else x
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return out + shortcut


def _drop_unused_block(module: nn.Module, weights: dict[str, Any], prefix: str, *_: object) -> None:
    for key in [key for key in weights if key.startswith(f"{prefix}sub_block1.")]:
        del weights[key]


def _initialize(network: nn.Module) -> None:
    """Normal weights of variance 2 / (k k outputs), after He et al., ICCV 2015, as in the original ones."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
