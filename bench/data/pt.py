"""Tensors that torch.save wrote: a dictionary of arrays, or images and labels in a pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from bench.core.files import regular, require_room
from bench.core.progress import Progress
from bench.data.arrays import EXPECTED, KEYS, located, splits_of
from bench.data.catalog import user_path
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData


def read(request: DataRequest, progress: Progress) -> Splits:
    """The file of `pt:PATH`; no code in it is run."""
    path = located(user_path(request.name), "pt")
    held = _named(_opened(path), path)
    classes = held.pop("classes", ())
    arrays = {name: _array(value) for name, value in held.items() if _is_array(value)}
    return splits_of(arrays, str(path), request, progress, tuple(str(item) for item in classes))


def _opened(path: Path) -> Any:
    try:
        require_room(path)
        return torch.load(regular(path), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise BadData(
            f"{path} is not a file of plain tensors, expected one with {EXPECTED}",
            'torch.save({"x_test": images, "y_test": labels}, FILE)',
        ) from error


def _named(held: Any, path: Path) -> dict[str, Any]:
    """The tensors by name: (images, labels), or a pair of such pairs for training and test."""
    if isinstance(held, Mapping):
        return {str(name): value for name, value in held.items()}
    if isinstance(held, (tuple, list)) and len(held) == 2:
        if all(_is_array(part) for part in held):
            return dict(zip(KEYS[2:], held, strict=True))
        if all(isinstance(part, (tuple, list)) and len(part) == 2 for part in held):
            return dict(zip(KEYS, (*held[0], *held[1]), strict=True))
    raise BadData(
        f"{path} holds a {type(held).__name__}, expected a dictionary with {EXPECTED}, or (images, labels)",
        'torch.save({"x_test": images, "y_test": labels}, FILE)',
    )


def _is_array(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, int) for item in value)
    return isinstance(value, torch.Tensor) and value.ndim > 0


def _array(value: Any) -> NDArray[Any]:
    """A tensor, or a list of labels, as an array; NumPy knows no other floats of 16 bits than its own."""
    tensor = torch.as_tensor(value).detach()
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array
