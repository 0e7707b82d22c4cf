"""Arrays in one NumPy file, in the layout of Keras (x_train, y_train, x_test, y_test) and its kin."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.progress import Progress, Silent
from bench.data.arrays import EXPECTED, located, splits_of
from bench.data.catalog import user_path
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData
from bench.records.arrays import Archive, reason


def read(request: DataRequest, progress: Progress) -> Splits:
    """The file of `npz:PATH`."""
    return read_file(located(user_path(request.name), "npz"), request, progress)


def beside(name: str, root: Path) -> Splits | None:
    """NAME.npz in a folder; None: it is not there."""
    path = root / f"{name}.npz"
    return read_file(located(path, "npz"), DataRequest(f"npz:{path}"), Silent()) if path.exists() else None


def read_file(path: Path, request: DataRequest, progress: Progress) -> Splits:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W], labels [N] or [N, 1]; `classes` may name the labels."""
    if not zipfile.is_zipfile(path):
        raise BadData(
            f"{path} is not a readable npz file, expected one with {EXPECTED}", "saving it with numpy.savez"
        )
    with _opened(path) as file:
        classes = tuple(str(item) for item in file["classes"]) if "classes" in file else ()
        return splits_of(file, str(path), request, progress, classes)


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    """The arrays, read one by one; whatever goes wrong meanwhile is told of the file."""
    try:
        with Archive(path) as file:
            yield file
    except (OSError, ValueError) as error:
        raise BadData(f"{path} is not a readable npz file of plain arrays ({reason(error)})") from error
