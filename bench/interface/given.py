"""Networks and images as programs hold them, in the forms that this harness knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.data.arrays import layout_of
from bench.errors import BadData, BadValue
from bench.train.memory import FromFunction, FromScript

Arrays = tuple[NDArray[Any], NDArray[Any]]
"""Images [N, C, H, W], uint8 or floating point, with integer labels [N]."""

BATCH = 256
"""How many items of a Dataset are put together at once."""


def network_of(model: object) -> nn.Module:
    """A network, or a function of images [B, C, H, W] that gives logits, as a network.

    Raises:
        BadValue: it cannot be called.
    """
    if isinstance(model, torch.jit.ScriptModule):
        return FromScript(model)
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, type) or not callable(model):
        raise BadValue(
            f"the model is {_told(model)}, expected an nn.Module, or a function from images [n, C, H, W] to "
            "logits [n, classes]",
            "bench.evaluate(network, x, y, ...)",
        )
    return FromFunction(model)


def name_of(model: object) -> str:
    """What tables call it: its class, or the function's own name."""
    name = model.__name__ if hasattr(model, "__name__") else type(model).__name__
    return "function" if name == "<lambda>" else name


def arrays_of(x: object, y: object = None) -> Arrays:
    """Images with their labels: arrays or tensors x and y, or pairs of them in x alone.

    Raises:
        BadData: they are neither.
    """
    if y is None:
        x, y = _pairs(x)
    images, labels = _pixels(_array(x, "x")), _labels(_array(y, "y"))
    if isinstance(x, Tensor) and images.ndim == 4:
        return images, labels
    return _channels_first(images), labels


def _channels_first(images: NDArray[Any]) -> NDArray[Any]:
    """Images [N, C, H, W] of [N, H, W], [N, H, W, C] or [N, C, H, W]."""
    if images.ndim == 3:
        return images[:, None]
    layout = layout_of(*images.shape[1:]) if images.ndim == 4 else None
    if layout is None:
        raise BadData(
            f"x has shape {list(images.shape)}, expected [N, H, W], or [N, H, W, C] or [N, C, H, W] with 1 "
            "or 3 channels",
            "torch.from_numpy(x), of which the channels come second",
        )
    return images if layout == "nchw" else images.transpose(0, 3, 1, 2)


def _pixels(images: NDArray[Any]) -> NDArray[Any]:
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise BadData(
            f"the pixels are {images.dtype}, expected uint8, or floating point in [0, 1]",
            'x.astype("uint8"), or x / 255',
        )
    return images


def _labels(labels: NDArray[Any]) -> NDArray[Any]:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1:
        raise BadData(
            f"the labels have shape {list(labels.shape)}, expected the number of a class for each image",
            "y.argmax(1)",
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise BadData(
            f"the labels are {labels.dtype}, expected integers from 0", "y.long(), or y.astype(int)"
        )
    return labels


def first_images(x: NDArray[Any], count: int) -> Tensor:
    """A copy of the first images [count, C, H, W] as networks take them: float32 in [0, 1]."""
    pixels = torch.from_numpy(np.array(x[:count], order="C"))
    return pixels.float().div(255) if pixels.dtype == torch.uint8 else pixels.float()


def _pairs(given: object) -> tuple[Tensor, Tensor]:
    """All of a loader's batches (x, y), or of single items."""
    if isinstance(given, (Tensor, np.ndarray)):
        raise BadData("there are images and no labels, expected both", "bench.evaluate(network, x, y, ...)")
    if isinstance(given, Dataset):
        given = DataLoader(given, batch_size=BATCH)
    if not isinstance(given, Iterable):
        raise BadData(
            f"x is {_told(given)}, expected arrays or tensors x and y, a DataLoader or Dataset of pairs "
            "(x, y), or the name of a data set",
            "bench.evaluate(network, x, y, ...)",
        )
    images, labels = [], []
    for batch in given:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise BadData(f"the loader gives {_told(batch)}, expected pairs (x, y) of images and labels")
        x, y = (torch.as_tensor(part).cpu() for part in batch)
        images.append(x if y.ndim else x[None])
        labels.append(y if y.ndim else y[None])
    if not images:
        raise BadData("the loader gives no batch, expected pairs (x, y) of images and labels")
    return torch.cat(images), torch.cat(labels)


def _array(value: object, name: str) -> NDArray[Any]:
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    try:
        found = np.asarray(value)
        if found.dtype != object:
            return found
    except ValueError:  # rows of different lengths
        pass
    raise BadData(f"{name} is {_told(value)}, expected an array or a tensor of numbers of one shape")


def _told(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
