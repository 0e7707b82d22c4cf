"""Many image files as one array."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.files import regular
from bench.core.progress import Progress
from bench.data.reading import Reading
from bench.errors import BadData

BLOCK = 256
"""Files decoded between two reports of progress."""

MOST_PIXELS = 89_478_485
"""Of one picture; of more Pillow warns as of a bomb."""

OF_16_BITS = ("PNG", "PPM")
"""Formats whose numbers of more than 8 bits go up to 65535: what is white is known."""


@dataclass(frozen=True)
class Encoded:
    """A picture that is no file of its own: how errors name it, and what gives its bytes."""

    name: str
    content: Callable[[], bytes]

    def __str__(self) -> str:
        return self.name


Picture = Path | Encoded


def decode(
    paths: Sequence[Picture], title: str, progress: Progress, reading: Reading | None = None
) -> NDArray[np.uint8]:
    """Images [N, 3, H, W] in RGB, all of one size, decoded by a few threads; [N, 1, H, W] of one channel.

    Gray ones have three equal channels, 16 bits are rounded to 8; each is resized and cropped as is said.
    Raises BadData for a file that is no image, for one of which no single colour of each pixel is known, and
    for two that differ in size.
    """
    read = partial(_decode, reading=reading or Reading())
    first = read(paths[0])
    images = np.empty((len(paths), first.shape[2], *first.shape[:2]), np.uint8)
    progress.start(title, len(paths), "images")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), BLOCK):
            block = paths[start : start + BLOCK]
            for row, image in enumerate(pool.map(read, block), start):
                if image.shape != first.shape:
                    raise BadData(
                        f"{paths[row]} is {_size(image)} pixels and {paths[0]} is {_size(first)}, "
                        f"expected images of one size",
                        _sizes_to_type(min(*image.shape[:2], *first.shape[:2])),
                    )
                images[row] = image.transpose(2, 0, 1)
            progress.advance(len(block))
    progress.finish()
    return images


def _sizes_to_type(shorter: int) -> str:
    """Options that fit the smaller of two pictures: ImageNet's where it is large enough."""
    return "--resize 256 --crop 224" if shorter >= 224 else f"--resize {shorter} --crop {shorter}"


def _decode(path: Picture, reading: Reading) -> NDArray[np.uint8]:
    """[H, W, C] of one picture."""
    try:
        with Image.open(regular(path) if isinstance(path, Path) else io.BytesIO(path.content())) as image:
            _require_few_pixels(image, path)
            mode = "L" if reading.channels == 1 else "RGB"
            plain = _in_8_bits(_one_frame(_opaque(image, path), path), path).convert(mode)
            if reading.resizes:
                from bench.data.sizes import check_crop, transform  # torchvision loads much

                check_crop(reading, *plain.size, str(path))
                plain = transform(reading)(plain)
            pixels = np.asarray(plain)
            return pixels if pixels.ndim == 3 else pixels[:, :, None]
    except BadData:
        raise
    except Exception as error:  # whatever a damaged picture makes the decoders raise
        raise BadData(f"{path} cannot be read as an image ({type(error).__name__})", "removing it") from error


def _require_few_pixels(image: Image.Image, path: Picture) -> None:
    """A picture of a few bytes may say that it has so many pixels that no memory holds them."""
    if image.width * image.height > MOST_PIXELS:
        raise BadData(
            f"{path} says that it has {image.width:,}x{image.height:,} pixels, expected at most "
            f"{MOST_PIXELS:,} in all",
            "a smaller copy of it",
        )


def _opaque(image: Image.Image, path: Picture) -> Image.Image:
    """Refused if anything can be seen through it: what lies behind is not told."""
    palette = image.palette.mode if image.palette is not None else ""
    through = {"A", "a"} & set(image.getbands()) or "transparency" in image.info or palette.endswith("A")
    if through and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise BadData(
            f"{path} has transparent pixels, whose colour nobody knows, expected an opaque picture",
            "pasting it on a background",
        )
    return image


def _one_frame(image: Image.Image, path: Picture) -> Image.Image:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG, with a preview behind the picture
        raise BadData(f"{path} has {frames} frames, expected one picture", "saving one of them")
    return image


def _in_8_bits(image: Image.Image, path: Picture) -> Image.Image:
    """Rounded where white is 65535; refused where nothing says which number is white."""
    if not image.mode.startswith(("I", "F")):
        return image
    if image.format not in OF_16_BITS:
        raise BadData(
            f"{path} holds numbers of more than 8 bits ({image.format}, {image.mode}), and nothing says "
            "which of them is white, expected 8 bits for each channel",
            "scaling them to 0..255, or npz:PATH with floats in [0, 1]",
        )
    numbers = np.asarray(image).astype(np.int64)
    return Image.fromarray(((numbers * 255 + 32767) // 65535).astype(np.uint8))


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
