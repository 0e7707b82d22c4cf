"""The network as a training step sees it: the same calls, under the recipe's precision and memory format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import FeatureNetwork, Features

Autocast = Callable[[], AbstractContextManager[object]]


class TrainingModel(nn.Module):
    """Lends a network's logits in float32; every other attribute is the network's own.

    Inputs stay float32 up to the first layer that autocast lowers, since bfloat16 cannot hold a pixel's
    perturbation.
    """

    def __init__(self, net: nn.Module, autocast: Autocast, channels_last: bool) -> None:
        super().__init__()
        self.net = net
        self._autocast = autocast
        self._channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] of images x [B, C, H, W]."""
        with self._autocast():
            logits: Tensor = self.net(self._laid_out(x))
        return logits.float()

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self._channels_last and x.dim() == 4 else x

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)


class FeatureTrainingModel(TrainingModel):
    """The same for a network that lends features."""

    def forward_features(self, x: Tensor) -> Features:
        """Logits, pooled features and feature maps, all float32."""
        with self._autocast():
            lent = self.net.forward_features(self._laid_out(x))  # type: ignore[operator]
        stages = tuple(stage.float() for stage in lent.stages)
        return Features(lent.logits.float(), lent.features.float(), stages)


def training_model(net: nn.Module, autocast: Autocast, channels_last: bool) -> TrainingModel:
    """The network wrapped for steps, with `forward_features` exactly if it has them."""
    kind = FeatureTrainingModel if isinstance(net, FeatureNetwork) else TrainingModel
    return kind(net, autocast, channels_last)


@torch.no_grad()
def observed(net: nn.Module, x: Tensor, autocast: Autocast, channels_last: bool) -> Features:
    """What a network makes of images, without gradients; of one that lends no features only the logits."""
    model = training_model(net, autocast, channels_last)
    if isinstance(model, FeatureTrainingModel):
        return model.forward_features(x)
    logits: Tensor = model(x)
    return Features(logits, logits.new_empty(len(logits), 0), ())


def unwrap(net: nn.Module) -> nn.Module:
    """The network itself."""
    return net.net if isinstance(net, TrainingModel) else net
