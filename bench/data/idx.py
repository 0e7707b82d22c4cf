"""The idx files in which MNIST and its kin are published, gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.files import open_regular, regular, require_memory, why
from bench.data.splits import Splits
from bench.errors import BadData

FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}
"""Where torchvision keeps the files of each data set."""

FIRST_LABELS = {
    "mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4),
    "fashion_mnist": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5),
}
"""The labels that each training set begins with: the files of all are called alike."""


DIMENSIONS = 32
"""How many an array may have."""

BLOCK = 1 << 24
"""Bytes that are read at once."""

STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def beside(name: str, root: Path) -> Splits | None:
    """The four files in ROOT/NAME, torchvision's ROOT/MNIST/raw or ROOT itself; None: they are not there.

    Files in ROOT itself that begin like another data set are passed over.
    """
    for folder in (root / name, root / name.replace("_", "-"), root / FOLDERS.get(name, name), root):
        files = [_file(folder, stem) for stem in STEMS]
        if not all(files):
            continue
        x_train, y_train, x_test, y_test = (read_idx(file) for file in files if file)
        if folder == root and _is_another(name, y_train):
            continue
        return Splits(x_train[:, None], y_train, x_test[:, None], y_test)
    return None


def read_idx(path: Path) -> NDArray[Any]:
    """An array of bytes of any shape.

    The header is two zeros, the type (8: unsigned byte), the number of dimensions, and each of them in four
    bytes, the most significant first.
    """
    try:
        with gzip.open(regular(path)) if path.suffix == ".gz" else open_regular(path) as file:
            return _array(file, path)
    except (OSError, EOFError, zlib.error) as error:
        kind = "gzip file" if path.suffix == ".gz" else "file"
        raise BadData(f"{path} is not a readable {kind} ({why(error)})") from error


def _array(file: IO[bytes] | gzip.GzipFile, path: Path) -> NDArray[Any]:
    """What the header says and not one byte more is unpacked."""
    shape = _shape(file, path)
    size = math.prod(shape)
    require_memory(size, path)
    data = _at_most(size + 1, file)
    if len(data) != size:
        found = f"more than {size}" if len(data) > size else str(len(data))
        raise BadData(f"{path} has {found} bytes after its header, expected {size} for shape {shape}")
    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def _at_most(count: int, file: IO[bytes] | gzip.GzipFile) -> bytearray:
    """So many bytes, or all that there are: memory is taken for what is there, not for what is said."""
    found = bytearray()
    while len(found) < count and (block := file.read(min(BLOCK, count - len(found)))):
        found += block
    return found


def _shape(file: IO[bytes] | gzip.GzipFile, path: Path) -> list[int]:
    begin = file.read(4)
    if len(begin) < 4 or begin[:3] != b"\x00\x00\x08":
        raise BadData(f"{path} begins with {begin!r}, expected an idx file of unsigned bytes")
    if begin[3] > DIMENSIONS:
        raise BadData(f"{path} says that it has {begin[3]} dimensions, expected at most {DIMENSIONS}")
    lengths = file.read(4 * begin[3])
    if len(lengths) < 4 * begin[3]:
        raise BadData(f"{path} ends inside its header of {4 + 4 * begin[3]} bytes, expected an idx file")
    return [int.from_bytes(lengths[at : at + 4], "big") for at in range(0, len(lengths), 4)]


def _file(folder: Path, stem: str) -> Path | None:
    dimensions = 3 if stem.endswith("images") else 1
    for joint in ("-", "."):
        for ending in ("", ".gz"):
            path = folder / f"{stem}{joint}idx{dimensions}-ubyte{ending}"
            if path.exists():
                return path
    return None


def _is_another(name: str, labels: NDArray[Any]) -> bool:
    first = tuple(int(label) for label in labels[:10])
    return any(first == known for other, known in FIRST_LABELS.items() if other != name)
