"""Many image files as one array."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench.core.progress import Progress
from bench.errors import BadData

BLOCK = 256
"""Files decoded between two reports of progress."""


def decode(paths: Sequence[Path], title: str, progress: Progress) -> NDArray[np.uint8]:
    """Images [N, 3, H, W] in RGB, all of one size, decoded by a few threads.

    Raises BadData for a file that is no image, and for two that differ in size.
    """
    first = _decode(paths[0])
    images = np.empty((len(paths), 3, *first.shape[:2]), np.uint8)
    progress.start(title, len(paths), "images")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), BLOCK):
            block = paths[start : start + BLOCK]
            for row, image in enumerate(pool.map(_decode, block), start):
                if image.shape != first.shape:
                    raise BadData(
                        f"{paths[row]} is {_size(image)} pixels and {paths[0]} is {_size(first)}, "
                        f"expected images of one size"
                    )
                images[row] = image.transpose(2, 0, 1)
            progress.advance(len(block))
    progress.finish()
    return images


def _decode(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadData(f"{path} cannot be read as an image ({type(error).__name__})", "removing it") from error


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
