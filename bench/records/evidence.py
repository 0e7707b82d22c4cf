"""Adversarial images on disk: of each cell while a run is computed, then of its worst case in one file.

Files are safetensors: `images` [m, C, H, W] float32 and `ids` [m] int64, positions in the test set. That of
the worst case has `labels` [m], too, and `columns` [m]: the place of the column that broke the example among
the names in its metadata. They are written and read part by part: memory holds one chunk of images at most.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.files import regular
from bench.errors import BadData
from bench.records.store import RunFolder, writing

FILE = "adversarial.safetensors"
"""What the images of a run's worst case are called in its folder."""

_TYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


def keep_images(
    folder: RunFolder, column: str, chunk: int, ids: NDArray[np.int64], broken: NDArray[np.float32]
) -> None:
    """Store what a cell broke; call it before the cell itself is kept, so that no cell lacks its images."""
    write(cell_images(folder, column, chunk), {"ids": ids}, {}, [broken], broken.shape)


def cell_images(folder: RunFolder, column: str, chunk: int) -> Path:
    """Where the images of a cell lie."""
    return folder.path / "cells" / column / f"{chunk:04d}.safetensors"


def drop_cell_images(folder: RunFolder) -> None:
    """Drop the images of all cells; those of the worst case stay."""
    for path in folder.path.glob("cells/*/*.safetensors"):
        path.unlink()


def write(
    path: Path,
    arrays: Mapping[str, NDArray[np.int64]],
    metadata: Mapping[str, str],
    parts: Iterable[NDArray[np.float32]],
    shape: tuple[int, ...],
) -> None:
    """Images of all parts, in all of `shape` [m, C, H, W], with arrays [m] beside them, whole or not at all.

    The format is the length of a JSON header, the header, and the tensors' bytes one after the other. Raises
    ValueError where the parts do not fill the shape.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, kind, dims in [*((n, "I64", a.shape) for n, a in arrays.items()), ("images", "F32", shape)]:
        start, end = end, end + int(np.prod(dims, dtype=np.int64)) * _TYPES[kind].itemsize
        header[name] = {"dtype": kind, "shape": list(dims), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin on a multiple of eight
    with writing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, dtype=_TYPES["I64"]).tobytes())
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=_TYPES["F32"]).tobytes())
        if file.tell() != 8 + len(text) + end:
            raise ValueError(f"the parts make {file.tell() - 8 - len(text)} bytes, expected {end}")


class EvidenceImages:
    """An open file of images; rows are read when they are asked for."""

    def __init__(self, path: Path, handle: Any) -> None:
        self.path, self._handle = path, handle
        self.metadata: Mapping[str, str] = handle.metadata() or {}
        self.ids: NDArray[np.int64] = handle.get_tensor("ids")

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str) -> NDArray[np.int64]:
        """What lies beside the images [m]: `labels` or `columns`."""
        found: NDArray[np.int64] = self._handle.get_tensor(name)
        return found

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Images [m, C, H, W] from start to stop, as far as there are any."""
        if not start < min(stop, len(self)):  # safetensors slices no empty tensor
            return np.empty((0, *self._handle.get_slice("images").get_shape()[1:]), dtype=np.float32)
        found: NDArray[np.float32] = self._handle.get_slice("images")[start:stop]
        return found

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The images of these examples [m, C, H, W], in their order.

        Raises:
            BadData: one of them is not in the file.
        """
        place = {int(number): row for row, number in enumerate(self.ids)}
        missing = [int(number) for number in ids if int(number) not in place]
        if missing:
            raise BadData(
                f"{self.path} lacks the image of example {missing[0]}", "bench run again with --rerun"
            )
        return self._handle.get_tensor("images")[[place[int(number)] for number in ids]]  # type: ignore[no-any-return]


@contextmanager
def images(path: Path) -> Iterator[EvidenceImages]:
    """Open a file of images.

    Raises:
        BadData: it is missing, damaged, or something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        handle: Any = safe_open(regular(path), framework="numpy")
        opened = handle.__enter__()
        found = EvidenceImages(path, opened)
        if set(opened.keys()) < {"ids", "images"}:
            raise KeyError("images")
    except (OSError, SafetensorError, KeyError) as error:
        raise BadData(
            f"{path} cannot be read ({error}), expected adversarial images", "bench run again with --rerun"
        ) from None
    try:
        yield found
    finally:
        handle.__exit__(None, None, None)
