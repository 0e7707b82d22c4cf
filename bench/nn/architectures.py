"""The networks by name; the names are known without loading torch."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from bench.errors import BadValue, unknown

if TYPE_CHECKING:
    from torch import nn

    from bench.api import Task

ARCHITECTURES: Mapping[str, str] = {
    "small_cnn": "bench.nn.small_cnn:SmallCNN",
    "lenet": "bench.nn.lenet:LeNet",
    "small_resnet": "bench.nn.small_resnet:SmallResNet",
    "resnet18": "bench.nn.resnet:ResNet",
    "preact_resnet18": "bench.nn.preact_resnet:PreActResNet",
    "wide_resnet_28_10": "bench.nn.wide_resnet:WideResNet",
    "wide_resnet_34_10": "bench.nn.wide_resnet:WideResNet",
}
"""Name -> "module:Class"; besides these, `wide_resnet_DEPTH_WIDTH` for every depth 6n + 4."""

_WIDE = re.compile(r"wide_resnet_(\d{1,4})_(\d{1,3})")


def names() -> list[str]:
    """The customary names, in the order of the table.

    >>> "small_cnn" in names()
    True
    """
    return list(ARCHITECTURES)


def module_of(name: str) -> str:
    """The module that defines an architecture, for the digest of the code behind a result.

    >>> module_of("wide_resnet_16_4")
    'bench.nn.wide_resnet'
    """
    return _find(name)[0].partition(":")[0]


def is_architecture(name: str) -> bool:
    """Whether a network has that name.

    >>> is_architecture("lenet"), is_architecture("wide_resnet_16_4"), is_architecture("main")
    (True, True, False)
    """
    return name in ARCHITECTURES or _WIDE.fullmatch(name) is not None


def network(task: Task) -> nn.Module:
    """The task's architecture with fresh weights from torch's generator, its normalisation inside.

    Raises UnknownName for a name that is in no table, BadValue for sizes it cannot have.
    """
    target, options = _find(task.architecture)
    module, _, name = target.partition(":")
    kind = getattr(importlib.import_module(module), name)
    return cast("nn.Module", kind(task.image_shape, task.num_classes, task.mean, task.std, **options))


def _find(name: str) -> tuple[str, dict[str, int]]:
    wide = _WIDE.fullmatch(name)
    if wide:
        depth, width = int(wide[1]), int(wide[2])
        if depth < 10 or (depth - 4) % 6 or width < 1:
            raise BadValue(
                f"the architecture is {name!r}, expected wide_resnet_DEPTH_WIDTH with a depth of 6n + 4 such "
                f"as 16, 28 or 34 and a width of at least 1",
                "--arch wide_resnet_28_10",
            )
        return ARCHITECTURES["wide_resnet_28_10"], {"depth": depth, "width": width}
    if name in ARCHITECTURES:
        return ARCHITECTURES[name], {}
    raise unknown("architecture", name, [*names(), "wide_resnet_DEPTH_WIDTH"])
