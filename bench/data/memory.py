"""Arrays that a Python program holds: data sets of test images alone, known by their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from bench.core.progress import Progress
from bench.data.catalog import MEMORY
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData


@dataclass(frozen=True, eq=False)
class HeldArrays:
    """Test images with their labels, for as long as somebody refers to them."""

    name: str  # memory:DIGEST
    x: NDArray[Any]  # [N, C, H, W], uint8 or floating point
    y: NDArray[Any]  # [N] integers
    num_classes: int


_HELD: WeakValueDictionary[str, HeldArrays] = WeakValueDictionary()


def hold(x: NDArray[Any], y: NDArray[Any], num_classes: int) -> HeldArrays:
    """The arrays under a name by which `load` finds them; the same content is held once."""
    digest = hashlib.sha256(f"{num_classes}".encode())
    for array in (x, y):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    name = f"{MEMORY.name}:{digest.hexdigest()[:12]}"
    return _HELD.setdefault(name, HeldArrays(name, x.copy(), y.copy(), num_classes))


def read(request: DataRequest, progress: Progress) -> Splits:
    """The arrays of `memory:DIGEST`."""
    held = _HELD.get(request.name)
    if held is None:
        raise BadData(
            f"{request.name} names arrays that this process does not hold, expected the program that does",
            "bench.evaluate(network, x, y, norm=..., eps=...) in Python, with the same arrays",
        )
    classes = tuple(str(label) for label in range(held.num_classes))
    return Splits(held.x[:0], held.y[:0], held.x, held.y, classes)
