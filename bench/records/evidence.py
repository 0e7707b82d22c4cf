"""Adversarial images on disk: of each cell while a run is computed, then of its worst case in one file.

Files are safetensors: `images` [m, C, H, W] float32 and `ids` [m] int64, positions in the test set. That of
the worst case has `labels` [m], too, and `columns` [m]: the place of the column that broke the example among
the names in its metadata. They are written and read part by part: memory holds one chunk of images at most.

Each file states in its metadata whose it is, and ends with the SHA-256 of all that comes before.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.files import regular
from bench.errors import BadData
from bench.records.files import writing
from bench.records.record import Record
from bench.records.store import IMAGES, RunFolder

FILE = IMAGES
"""What the images of a run's worst case are called in its folder."""

DIGEST = "sha256"
"""The last tensor of a file [32], the digest of all bytes before it; files of older making lack it."""

_TYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}


def keep_images(
    folder: RunFolder, column: str, chunk: int, ids: NDArray[np.int64], broken: NDArray[np.float32]
) -> None:
    """Store what a cell broke; call it before the cell itself is kept, so that no cell lacks its images."""
    path, owner = cell_images(folder, column, chunk), folder.owner(column, chunk)
    write(path, {"ids": ids}, owner, [broken], broken.shape)


def cell_images(folder: RunFolder, column: str, chunk: int) -> Path:
    """Where the images of a cell lie."""
    return folder.path / "cells" / column / f"{chunk:04d}.safetensors"


def unusable(folder: RunFolder, column: str, chunk: int) -> str | None:
    """Why the images of a cell that are there are not to be used; None: they are, or there are none."""
    path = cell_images(folder, column, chunk)
    if not path.is_file():
        return None
    try:
        with images(path) as found:
            strange = folder.stranger(found.metadata, column, chunk)
        return strange or (None if is_whole(path) else "was changed after it was made")
    except BadData as error:
        return error.message


def is_whole(path: Path) -> bool:
    """Whether a file of images is as it was written; of older ones, which have no digest, nobody knows."""
    with images(path) as found:
        if DIGEST not in found.names:
            return "spec" not in found.metadata
        told = bytes(found.array(DIGEST).astype(np.uint8))
    left, digest = path.stat().st_size - len(told), hashlib.sha256()
    with path.open("rb") as file:
        while left:
            part = file.read(min(left, 1 << 20))
            digest.update(part)
            left -= len(part)
        return file.read() == told == digest.digest()


def has_loose_images(record: Record, folder: RunFolder) -> bool:
    """Whether images of cells are left beside those of the worst case, which were gathered from them."""
    return record.evidence is not None and any(folder.path.glob("cells/*/*.safetensors"))


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
    kinds = [*((name, "I64", array.shape) for name, array in arrays.items()), ("images", "F32", shape)]
    for name, kind, dims in [*kinds, (DIGEST, "U8", (32,))]:
        start, end = end, end + int(np.prod(dims, dtype=np.int64)) * _TYPES[kind].itemsize
        header[name] = {"dtype": kind, "shape": list(dims), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin on a multiple of eight
    with writing(path) as file:
        written = _Hashed(file)
        written.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            written.write(np.ascontiguousarray(array, dtype=_TYPES["I64"]).tobytes())
        for part in parts:
            written.write(np.ascontiguousarray(part, dtype=_TYPES["F32"]).tobytes())
        file.write(written.digest.digest())
        if file.tell() != 8 + len(text) + end:
            raise ValueError(f"the parts make {file.tell() - 8 - len(text)} bytes, expected {end}")


class _Hashed:
    """A file whose content is hashed while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self.digest.update(content)


class EvidenceImages:
    """An open file of images; rows are read when they are asked for."""

    def __init__(self, path: Path, handle: Any) -> None:
        self.path, self._handle = path, handle
        self.metadata: Mapping[str, str] = handle.metadata() or {}
        self.names: frozenset[str] = frozenset(handle.keys())
        self.ids: NDArray[np.int64] = handle.get_tensor("ids")

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str) -> NDArray[np.int64]:
        """What lies beside the images [m]: `labels` or `columns`.

        Raises:
            BadData: it is not there.
        """
        if name not in self.names:
            raise BadData(f"{self.path} lacks the {name} of its images", "bench run again with --rerun")
        found: NDArray[np.int64] = self._handle.get_tensor(name)
        return found

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Images [m, C, H, W] from start to stop, as far as there are any."""
        if not start < min(stop, len(self)):  # safetensors slices no empty tensor
            return np.empty((0, *self._handle.get_slice("images").get_shape()[1:]), dtype=np.float32)
        found: NDArray[np.float32] = self._handle.get_slice("images")[start : min(stop, len(self))]
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
        shape = tuple(opened.get_slice("images").get_shape())
        if len(shape) != 4 or found.ids.dtype != np.int64 or found.ids.shape != shape[:1]:
            raise ValueError(f"ids of shape {list(found.ids.shape)} for images of shape {list(shape)}")
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadData(
            f"{path} cannot be read ({error}), expected adversarial images", "bench run again with --rerun"
        ) from None
    try:
        yield found
    finally:
        handle.__exit__(None, None, None)
