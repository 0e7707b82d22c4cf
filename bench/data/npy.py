"""Arrays in NumPy files of their own: x_test.npy and y_test.npy, or images.npy and labels.npy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.core.progress import Progress
from bench.data.arrays import Pair, labels_of, lacking, parts_of, splits_of
from bench.data.catalog import user_path
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData
from bench.records.arrays import Unreadable, opened, reason


def read(request: DataRequest, progress: Progress) -> Splits:
    """The files of `npy:FOLDER`; of `npy:FILE` those images, all for testing, and the labels beside them."""
    path = user_path(request.name)
    arrays = {name: _opened(file) for name, file in files(path).items()}
    classes = arrays.pop("classes", ())
    return splits_of(arrays, str(path), request, progress, tuple(str(item) for item in classes))


def files(path: Path) -> dict[str, Path]:
    """The files that are read, by what their arrays are called.

    Raises BadData where images or labels are missing.
    """
    folder = path if path.is_dir() else path.parent
    there = {file.stem: file for file in sorted(folder.glob("*.npy"))}
    pairs = parts_of(there) if path.is_dir() else (None, _images_and_labels(path, there))
    if pairs[1] is None:
        raise lacking(there, str(folder))
    if not path.is_dir():
        return {"images": path, "labels": there[pairs[1][1]]}
    names = [name for pair in pairs if pair is not None for name in pair]
    return {name: there[name] for name in (*names, *({"classes"} & set(there)))}


def _images_and_labels(path: Path, there: dict[str, Path]) -> Pair | None:
    labels = labels_of(path.stem, there)
    return None if labels is None else (path.stem, labels)


def _opened(path: Path) -> NDArray[Any]:
    """One array, whose content is read when it is asked for."""
    try:
        return opened(path)
    except (OSError, Unreadable) as error:
        raise BadData(f"{path} is not a readable npy file of a plain array ({reason(error)})") from error
