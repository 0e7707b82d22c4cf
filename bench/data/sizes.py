"""Images at another size, as torchvision resizes and crops them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode, v2

from bench.data.reading import Reading
from bench.data.splits import Splits
from bench.errors import BadData

BLOCK = 1024
"""Images that are resized at once."""


def transform(reading: Reading) -> v2.Transform:
    """The shorter side resized, bicubic and antialiased, then the middle: for pictures and for tensors."""
    steps: list[v2.Transform] = [v2.Identity()]
    if reading.resize is not None:
        steps.append(v2.Resize(reading.resize, InterpolationMode.BICUBIC, antialias=True))
    if reading.crop is not None:
        steps.append(v2.CenterCrop(reading.crop))
    return v2.Compose(steps)


def check_crop(reading: Reading, width: int, height: int, place: str) -> None:
    """Refuse to cut a square out of a smaller image, around which there would be black."""
    shorter = reading.resize or min(width, height)
    if reading.crop is not None and reading.crop > shorter:
        raise BadData(
            f"{place} is {width}x{height} pixels and --crop is {reading.crop}, expected to cut no more than "
            "there is",
            f"--resize {reading.crop} --crop {reading.crop}",
        )


def at_size(splits: Splits, reading: Reading, name: str) -> Splits:
    """A data set at another size; bytes stay bytes, rounded, as files of that size would hold."""
    height, width = splits.x_test.shape[2:]
    check_crop(reading, width, height, f"an image of {name}")
    return replace(splits, x_train=_resized(splits.x_train, reading), x_test=_resized(splits.x_test, reading))


def _resized(x: NDArray[Any], reading: Reading) -> NDArray[Any]:
    if not len(x):
        return x
    change = transform(reading)
    plain = np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32))
    parts = [change(part) for part in torch.split(torch.from_numpy(plain), BLOCK)]
    resized = torch.cat(parts)
    return (resized if x.dtype == np.uint8 else resized.clamp(0, 1)).numpy()
