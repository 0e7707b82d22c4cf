"""Arrays in one NumPy file, in the layout of Keras: x_train, y_train, x_test, y_test."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.progress import Progress
from bench.data.catalog import user_path
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read(request: DataRequest, progress: Progress) -> Splits:
    """The file of `npz:PATH`."""
    return read_file(located(user_path(request.name)))


def located(path: Path) -> Path:
    """The path, if a file is there."""
    if not path.is_file():
        raise BadData(f"{path} is not a file, expected one with {', '.join(KEYS)}", "--data npz:PATH")
    return path


def beside(name: str, root: Path) -> Splits | None:
    """NAME.npz in a folder; None: it is not there."""
    path = root / f"{name}.npz"
    return read_file(path) if path.is_file() else None


def read_file(path: Path) -> Splits:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W], labels [N] or [N, 1]; `classes` may name the labels."""
    if not zipfile.is_zipfile(path):
        raise BadData(
            f"{path} is not a readable npz file, expected one with {', '.join(KEYS)}",
            "saving it with numpy.savez",
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                there = ", ".join(file.files) or "nothing"
                raise BadData(f"{path} holds {there}, but not {missing[0]}; expected {', '.join(KEYS)}")
            arrays = {key: file[key] for key in KEYS}
            classes = tuple(str(item) for item in file["classes"]) if "classes" in file.files else ()
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadData(f"{path} is not a readable npz file of plain arrays ({reason})") from error
    return Splits(
        channels_first(arrays["x_train"], f"x_train in {path}"),
        flat(arrays["y_train"]),
        channels_first(arrays["x_test"], f"x_test in {path}"),
        flat(arrays["y_test"]),
        classes,
    )


def channels_first(x: NDArray[Any], place: str) -> NDArray[Any]:
    """Images [N, C, H, W] of [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels.

    Raises:
        BadData: the shape is none of these; `place` says of what.
    """
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4:
        first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
        if first and not last:
            return x
        if last and not first:
            return x.transpose(0, 3, 1, 2)
    raise BadData(
        f"{place} has shape {list(x.shape)}, expected [N, H, W], or [N, H, W, C] or [N, C, H, W] with 1 or 3 "
        f"channels"
    )


def flat(y: NDArray[Any]) -> NDArray[Any]:
    """Labels [N] of [N] or [N, 1]; of any other shape they stay as they are."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
