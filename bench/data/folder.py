"""A folder of images, one folder inside it for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.core.progress import Progress
from bench.core.seeds import seed_for
from bench.data.catalog import source, user_path
from bench.data.pictures import decode
from bench.data.splits import DataRequest, Splits, hold_out
from bench.errors import BadData

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""The files that count as images, in small or capital letters."""

NOT_READ = (".apng", ".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".tga")
"""Pictures that would be left out without a word."""

TEST_FRACTION = 5
"""Of a folder that is not split into train and test, every fifth image of a class becomes a test image."""

Listing = dict[str, list[Path]]
"""Class -> its images, both in the order of their names."""


def read(request: DataRequest, progress: Progress) -> Splits:
    """PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/* to be split; labels follow the names."""
    path = user_path(request.name)
    name = source(request.name).name
    found, *test = _listings(path)
    return _in_two(found, test[0], name, progress) if test else _in_one(found, path, name, progress)


def pictures(path: Path) -> list[Path]:
    """Every file that `read` would read below a folder, and no other, in its order."""
    return [file for listing in _listings(path) for file in _files(listing)]


def _listings(path: Path) -> list[Listing]:
    """The classes of training and of test images; or of all, if they are yet to be split."""
    if not path.is_dir():
        raise BadData(
            f"{path} is not a folder, expected one with a folder of images for each class",
            "--data folder:PATH",
        )
    if (path / "train").is_dir() and (path / "test").is_dir():
        return _two_listings(path)
    for part, other in (("train", "test"), ("test", "train")):
        if (path / part).is_dir() and not _images(path / part):
            raise BadData(f"{path} has a folder {part} but no {other}, expected both or neither")
    return [_listing(path)]


def _two_listings(path: Path) -> list[Listing]:
    train, test = _listing(path / "train"), _listing(path / "test")
    if list(train) != list(test):
        odd = sorted(set(train) ^ set(test))[0]
        place, lacking = ("train", "test") if odd in train else ("test", "train")
        raise BadData(
            f"the class {odd!r} is in {path / place} but not in {path / lacking}, expected it in both"
        )
    return [train, test]


def _in_two(train: Listing, test: Listing, name: str, progress: Progress) -> Splits:
    x_train = decode(_files(train), f"{name}: training images", progress)
    x_test = decode(_files(test), f"{name}: test images", progress)
    return Splits(x_train, _labels(train), x_test, _labels(test), tuple(train))


def _in_one(listing: Listing, path: Path, name: str, progress: Progress) -> Splits:
    y = _labels(listing)
    for folder, files in listing.items():
        if len(files) < 2:
            raise BadData(f"{path / folder} has one image, expected at least two: one is kept for testing")
    x = decode(_files(listing), f"{name}: images", progress)
    train, test = hold_out(y, len(y) // TEST_FRACTION, seed_for("split", name))
    return Splits(x[train], y[train], x[test], y[test], tuple(listing))


def _listing(path: Path) -> Listing:
    """Class -> its images, both in the order of their names."""
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(folders) < 2:
        raise BadData(f"{path} has {len(folders)} folders, expected one for each of at least two classes")
    listing = {folder.name: _images(folder) for folder in folders}
    for name, files in listing.items():
        if not files:
            raise BadData(
                f"{path / name} has no images, expected files that end in {', '.join(SUFFIXES)}",
                "removing it",
            )
    return listing


def _images(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for file in files:
        if file.suffix.lower() in NOT_READ:
            raise BadData(
                f"{file} is a picture of a kind that is not read, expected files that end in "
                f"{', '.join(SUFFIXES)}",
                "converting it, or moving it away",
            )
    return [file for file in files if file.suffix.lower() in SUFFIXES]


def _files(listing: Listing) -> list[Path]:
    return [file for files in listing.values() for file in files]


def _labels(listing: Listing) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.repeat(np.arange(len(listing)), [len(files) for files in listing.values()])
