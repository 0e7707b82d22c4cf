"""Arrays by the names that people give them: which are images and which labels, in which form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.progress import Progress
from bench.data.splits import DataRequest, Splits, of_test_images
from bench.errors import BadData

KEYS = ("x_train", "y_train", "x_test", "y_test")

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
"""The words for a part, in the names of arrays and of folders; without a test, validation images serve."""

IMAGES = ("x", "image", "images", "data", "input", "inputs", "img", "imgs", "arr0")
LABELS = ("y", "label", "labels", "target", "targets", "class", "arr1")
"""The words for images and for labels, in small letters without signs between them."""

EXPECTED = "x_test and y_test (or images and labels), and x_train and y_train where something is trained"

FEW = 0.01
"""A smaller share of pixels outside of [0, 1] is no other range, but a mistake in some images."""

WHOLE = 1 << 53
"""Up to here every whole number is a floating-point number."""


def located(path: Path, kind: str) -> Path:
    """The path, if a file is there; `kind` is the prefix by which it was named, `npz` or `pt`."""
    if not path.is_file():
        raise BadData(f"{path} is not a file, expected one with {EXPECTED}", f"--data {kind}:PATH")
    return path


def splits_of(
    arrays: Mapping[str, Any], place: str, request: DataRequest, progress: Progress, classes: tuple[str, ...]
) -> Splits:
    """The parts of a data set among arrays by name; those that are no part of one are not read.

    Raises BadData for a part that is missing, or an array that is not what its name says.
    """
    train, test = parts_of(arrays)
    if test is None:
        raise lacking(arrays, place)
    x, y = _read(arrays, test, place, request)
    if train is None:
        _check_first(y, f"{test[1]} in {place}", request)
        progress.say(f"{place} has test images alone, {len(x):,}")
        return of_test_images(x, y, classes)
    x_train, y_train = _read(arrays, train, place, request)
    _check_first(y_train, f"{train[1]} in {place}", request)
    return Splits(x_train, y_train, x, y, classes)


Pair = tuple[str, str]
"""The names of images and of their labels."""


def parts_of(names: Iterable[str]) -> tuple[Pair | None, Pair | None]:
    """The training and the test images; None: there are none of them, or none with labels."""
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in names}
    return _pair(plain, TRAIN), _pair(plain, TEST) or _pair(plain, ("",))


def labels_of(images: str, names: Iterable[str]) -> str | None:
    """The name of the labels that belong to images of some name: of the same part, or of no part."""
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in names}
    part = next((word for word in (*TRAIN, *TEST) if word in images.lower()), "")
    return _named(plain, part, LABELS) or _named(plain, "", LABELS)


def lacking(names: Iterable[str], place: str) -> BadData:
    """The error for arrays of which none are test images, or none their labels."""
    held = list(names)
    there = ", ".join(held) or "nothing"
    missing = next((key for key in KEYS[2:] if key not in held), KEYS[2])
    return BadData(f"{place} holds {there}, but not {missing}; expected {EXPECTED}", "renaming the arrays")


def _pair(plain: Mapping[str, str], parts: tuple[str, ...]) -> Pair | None:
    for part in parts:
        images, labels = (_named(plain, part, words) for words in (IMAGES, LABELS))
        if images is not None and labels is not None:
            return images, labels
    return None


def _named(plain: Mapping[str, str], part: str, words: tuple[str, ...]) -> str | None:
    """The array whose name is a word and the part, in either order, whatever signs are between them."""
    wanted = [name for word in words for name in (f"{word}{part}", f"{part}{word}")]
    return next((plain[name] for name in wanted if name in plain), None)


def _read(
    arrays: Mapping[str, Any], pair: Pair, place: str, request: DataRequest
) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = pair
    x = channels_first(np.asarray(arrays[images]), f"{images} in {place}", request)
    y = as_labels(np.asarray(arrays[labels]), f"{labels} in {place}", request)
    return in_range(x, f"{images} in {place}", request), y


def _check_first(y: NDArray[Any], place: str, request: DataRequest) -> None:
    """Labels from 1 would make a class of their own of 0, which no image has."""
    if request.reading.classes is not None or y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        return
    values = np.unique(y)
    if len(values) > 1 and np.array_equal(values, np.arange(1, len(values) + 1)):
        raise BadData(
            f"{place} goes from 1 to {len(values)}, expected labels from 0",
            f"{request.remedy(labels='from1')}, or classes={len(values) + 1} if no image is of class 0",
        )


def channels_first(x: NDArray[Any], place: str, request: DataRequest) -> NDArray[Any]:
    """Images [N, H, W], [N, H, W, C] or [N, C, H, W] as [N, C, H, W].

    Three channels or one are known by their number, others by the images being square.
    """
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4:
        raise BadData(
            f"{place} has shape {list(x.shape)}, expected [N, H, W], [N, H, W, C] or [N, C, H, W]",
            "numpy.reshape",
        )
    layout = request.reading.layout or layout_of(*x.shape[1:])
    if layout is None:
        raise BadData(
            f"{place} has shape {list(x.shape)}, of which the second or the last may be channels, expected "
            "to be told which",
            f"{request.remedy(layout='nhwc')}, or layout=nchw",
        )
    return x if layout == "nchw" else x.transpose(0, 3, 1, 2)


def layout_of(first: int, middle: int, last: int) -> str | None:
    """Where the channels of images of such a shape are, nchw or nhwc; None: it cannot be told."""
    few = first in (1, 3), last in (1, 3)
    square = middle == last, first == middle
    for nchw, nhwc in (few, square):
        if nchw != nhwc:
            return "nchw" if nchw else "nhwc"
    return None


def in_range(x: NDArray[Any], place: str, request: DataRequest) -> NDArray[Any]:
    """Pixels as bytes or in [0, 1]; where they are neither, what is black and what is white must be told."""
    if request.reading.range:
        black, white = request.reading.range
        return ((x.astype(np.float32) - black) / (white - black)).astype(np.float32)
    if x.dtype == np.uint8 or not x.size or not np.issubdtype(x.dtype, np.number):
        return x
    low, high = float(x.min()), float(x.max())
    usual, is_floating = _usual_range(low, high), np.issubdtype(x.dtype, np.floating)
    few = is_floating and ((x < 0) | (x > 1)).mean() < FEW
    if usual is None or few or (usual == "0,1" and is_floating):
        return x  # the check of data sets says what is wrong, if anything is, and in which image
    raise BadData(
        f"{place} has {x.dtype} pixels from {low:g} to {high:g}, expected uint8, or floating point in [0, 1]",
        request.remedy(range=tuple(float(end) for end in usual.split(","))),
    )


def _usual_range(low: float, high: float) -> str | None:
    """The range that pixels between two numbers are usually stored in; None: in none that we know."""
    if -1 <= low < 0 and high <= 1:
        return "-1,1"
    ends = [end for end in (1, 255, 65535) if high <= end]
    return f"0,{ends[0]}" if low >= 0 and ends else None


def as_labels(y: NDArray[Any], place: str, request: DataRequest) -> NDArray[Any]:
    """Labels [N] from [N] or [N, 1]; those in another form are taken only where that form was told."""
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim == 2:
        return _from_one_hot(y, place, request)
    if y.ndim == 1 and np.issubdtype(y.dtype, np.floating):
        return _from_floats(y, place, request)
    return y.astype(np.int64) - 1 if request.reading.labels == "from1" else y


def _from_one_hot(y: NDArray[Any], place: str, request: DataRequest) -> NDArray[Any]:
    if not (np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all()):
        raise BadData(
            f"{place} has shape {list(y.shape)} and is not one-hot, expected one label for each image, [N]",
            "numpy.argmax(y, 1), if the largest is the class",
        )
    if request.reading.labels != "onehot":
        raise BadData(
            f"{place} is one-hot, of shape {list(y.shape)}, expected integers of shape [N]",
            request.remedy(labels="onehot"),
        )
    return np.asarray(y.argmax(1))


def _from_floats(y: NDArray[Any], place: str, request: DataRequest) -> NDArray[Any]:
    whole = bool(np.isfinite(y).all() and (y == np.rint(y)).all() and (np.abs(y) < WHOLE).all())
    if not whole:
        raise BadData(
            f"{place} holds {y.dtype} that are not whole numbers, expected integers, a class for each image"
        )
    if request.reading.labels not in ("float", "from1"):
        raise BadData(
            f"{place} holds whole numbers as {y.dtype}, expected integers", request.remedy(labels="float")
        )
    return y.astype(np.int64) - (request.reading.labels == "from1")
