"""A folder of images, one folder inside it for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.core.progress import Progress
from bench.core.seeds import seed_for
from bench.data.arrays import TEST, TRAIN
from bench.data.catalog import source, user_path
from bench.data.pictures import decode
from bench.data.splits import DataRequest, Splits, hold_out, of_test_images
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
    """PATH/train/CLASS/* and PATH/test/CLASS/* (or val), one of them, or PATH/CLASS/*; labels follow names.

    A folder of classes alone is split, or all of it is for testing where the name says test=all.
    """
    path = user_path(request.name)
    name = source(request.name).name
    train, test, whole = _listings(path)
    if whole is not None and request.reading.test == "all":
        train, test = None, whole
    if test is not None and train is not None:
        return _in_two(train, test, request, name, progress)
    if test is not None:
        x = decode(files_of(test), f"{name}: test images", progress, request.reading)
        return of_test_images(x, labels_of(test), tuple(test))
    return _in_one(whole or {}, path, request, name, progress)


def is_plain(path: Path) -> bool:
    """Whether a folder holds classes, and no parts such as train and test."""
    return path.is_dir() and _part(path, TRAIN) is None and _part(path, TEST) is None


def pictures(path: Path) -> list[Path]:
    """Every file that `read` would read below a folder, and no other, in its order."""
    return [file for listing in _listings(path) if listing is not None for file in files_of(listing)]


def _part(path: Path, words: Sequence[str]) -> Path | None:
    """The folder of a part, by the first of its words that there is, in whatever case; it holds folders."""
    held = {folder.name.lower(): folder for folder in sorted(path.iterdir()) if folder.is_dir()}
    found = [held[word] for word in words if word in held and not _images(held[word])]
    return found[0] if found else None


def _listings(path: Path) -> tuple[Listing | None, Listing | None, Listing | None]:
    """The classes of training images, of test images, and of all where they are in no parts."""
    if not path.is_dir():
        raise BadData(
            f"{path} is not a folder, expected one with a folder of images for each class",
            "--data folder:PATH",
        )
    train, test = _part(path, TRAIN), _part(path, TEST)
    if test is None and train is not None:
        raise BadData(f"{path} has a folder {train.name} but no test, expected both or neither")
    if test is None:
        return None, None, classes_in(path)
    if train is None:
        return None, classes_in(test), None
    return (*_two_listings(train, test), None)


def _two_listings(train: Path, test: Path) -> tuple[Listing, Listing]:
    ours, theirs = classes_in(train), classes_in(test)
    if list(ours) != list(theirs):
        odd = sorted(set(ours) ^ set(theirs))[0]
        place, lacking = (train, test) if odd in ours else (test, train)
        raise BadData(f"the class {odd!r} is in {place} but not in {lacking}, expected it in both")
    return ours, theirs


def _in_two(train: Listing, test: Listing, request: DataRequest, name: str, progress: Progress) -> Splits:
    x_train = decode(files_of(train), f"{name}: training images", progress, request.reading)
    x_test = decode(files_of(test), f"{name}: test images", progress, request.reading)
    return Splits(x_train, labels_of(train), x_test, labels_of(test), tuple(train))


def _in_one(listing: Listing, path: Path, request: DataRequest, name: str, progress: Progress) -> Splits:
    y = labels_of(listing)
    for folder, files in listing.items():
        if len(files) < 2:
            raise BadData(f"{path / folder} has one image, expected at least two: one is kept for testing")
    x = decode(files_of(listing), f"{name}: images", progress, request.reading)
    train, test = hold_out(y, len(y) // TEST_FRACTION, seed_for("split", name))
    progress.say(f"{name} has no parts: {len(train):,} images are for training, {len(test):,} for testing")
    return Splits(x[train], y[train], x[test], y[test], tuple(listing))


def classes_in(path: Path) -> Listing:
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


def files_of(listing: Listing) -> list[Path]:
    """The images, class by class."""
    return [file for files in listing.values() for file in files]


def labels_of(listing: Listing) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The label of each of them, [N]: the place of its class."""
    return np.repeat(np.arange(len(listing)), [len(files) for files in listing.values()])
