"""The last linear layer of a classifier, for defenses that read its weights."""

from __future__ import annotations

from torch import nn

from bench.errors import BadValue


def head(net: nn.Module, num_classes: int) -> nn.Linear:
    """The last `nn.Linear` with one output for each class.

    >>> head(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3)), 3).in_features
    4
    """
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    fitting = [layer for layer in layers if layer.out_features == num_classes]
    if not fitting:
        raise BadValue(
            f"{type(net).__name__} has no linear layer with {num_classes} outputs, expected one as its last",
            "--arch small_cnn",
        )
    return fitting[-1]
