"""The idx files in which MNIST and its kin are published, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.splits import Splits
from bench.errors import BadData

FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}
"""Where torchvision keeps the files of each data set."""

FIRST_LABELS = {
    "mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4),
    "fashion_mnist": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5),
}
"""The labels that each training set begins with: the files of all are called alike."""


STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def beside(name: str, root: Path) -> Splits | None:
    """The four files in ROOT/NAME, torchvision's ROOT/MNIST/raw or ROOT itself; None: they are not there.

    Files in ROOT itself that begin like another data set are passed over.
    """
    for folder in (root / name, root / name.replace("_", "-"), root / FOLDERS.get(name, name), root):
        files = [
            _file(folder, stem) for stem in ("train-images", "train-labels", "t10k-images", "t10k-labels")
        ]
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
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{path} is not a readable gzip file ({error})") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise BadData(f"{path} begins with {data[:4]!r}, expected an idx file of unsigned bytes")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    size = int(np.prod(shape, dtype=np.int64))
    found = len(data) - start
    if found < 0:
        raise BadData(f"{path} ends inside its header of {start} bytes, expected an idx file")
    if found != size:
        raise BadData(f"{path} has {found} bytes after its header, expected {size} for shape {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()


def _file(folder: Path, stem: str) -> Path | None:
    dimensions = 3 if stem.endswith("images") else 1
    for joint in ("-", "."):
        for ending in ("", ".gz"):
            path = folder / f"{stem}{joint}idx{dimensions}-ubyte{ending}"
            if path.is_file():
                return path
    return None


def _is_another(name: str, labels: NDArray[Any]) -> bool:
    first = tuple(int(label) for label in labels[:10])
    return any(first == known for other, known in FIRST_LABELS.items() if other != name)
