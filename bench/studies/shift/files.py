"""Corrupted images that others made: CIFAR-10-C, CIFAR-100-C, CIFAR-10-P and ImageNet-C, as published.

Arrays: NAME.npy, uint8 [5 N, H, W, C] (five severities of N images) with labels.npy; of perturbation
sequences [N, T, H, W, C]. Pictures: CORRUPTION/SEVERITY/SYNSET/*.JPEG.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.digest import content_id, file_sha256
from bench.core.files import why
from bench.core.progress import Silent
from bench.data import folder
from bench.data.dataset import Dataset
from bench.data.pictures import decode
from bench.data.reading import Reading
from bench.errors import BadData, BadValue, UnknownName
from bench.records.arrays import Unreadable, opened
from bench.studies.shift.record import MAIN, OTHERS, SEQUENCES

LABELS = "labels"
"""The array that holds the labels."""

MOST = 5
"""Severities, from 1 on."""

Kind = Literal["arrays", "sequences", "pictures"]

GROUPS: Mapping[str, str] = {
    name: group
    for group, names in {
        "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
        "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
        "weather": ("snow", "frost", "fog", "brightness", "spatter"),
        "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
        "geometry": ("translate", "rotate", "tilt", "scale", "shear"),
    }.items()
    for name in names
}
"""The groups of the authors' names."""


@dataclass(frozen=True)
class CorruptedFiles:
    """A folder of corrupted images, by what would be read of it."""

    path: Path
    kind: Kind
    severities: Mapping[str, tuple[int, ...]]  # corruption -> those that are there; of sequences 0
    digests: Mapping[str, str]  # of arrays of their bytes, of pictures of their names and sizes
    there: tuple[str, ...]  # all corruptions of the folder, those that nobody asked for among them

    def encoded(self) -> dict[str, Any]:
        """As JSON; where they lie does not count."""
        held = {name: list(numbers) for name, numbers in self.severities.items()}
        return {"kind": self.kind, "digests": dict(self.digests), "severities": held}

    @property
    def digest(self) -> str:
        """Of all that is read."""
        return content_id(dict(self.digests))

    @property
    def lacking(self) -> tuple[str, ...]:
        """What of the benchmark is not there: corruptions, and severities of others."""
        main = SEQUENCES if self.kind == "sequences" else MAIN
        gone = [name for name in main if name not in self.there]
        held = {} if self.kind == "sequences" else self.severities
        partial = [
            f"{name} at severity {number}"
            for name, numbers in held.items()
            for number in range(1, MOST + 1)
            if name in MAIN and number not in numbers
        ]
        return (*gone, *partial)

    def column(self, name: str, severity: int) -> str:
        """What a cell of such images is called."""
        return f"{self.digests[name]}_{name}_{severity}"


def find(path: Path, only: Sequence[str]) -> CorruptedFiles:
    """What a folder holds; `only` are corruptions or groups of them; none: everything.

    Raises:
        BadData: it holds no such images, or not as they were published.
        UnknownName: none of `only` is there.
    """
    if not path.is_dir():
        raise BadData(
            f"--files is {str(path)!r}, which is no folder, expected one of corrupted images", _TYPE
        )
    arrays = {file.stem: file for file in sorted(path.glob("*.npy")) if file.stem != LABELS}
    pictures = {file.name: file for file in sorted(path.iterdir()) if _severities(file)}
    there = tuple(arrays or pictures)
    names = _only(there, only, path)
    if arrays:
        return _of_arrays(path, {name: arrays[name] for name in names}, there)
    held = {name: _severities(path / name) for name in names}
    digests = {name: _sizes(path / name, numbers) for name, numbers in held.items()}
    return CorruptedFiles(path, "pictures", held, digests, there)


_TYPE = "--files FOLDER of CIFAR-10-C (NAME.npy and labels.npy) or ImageNet-C (CORRUPTION/SEVERITY/SYNSET)"


def group_of(name: str) -> str:
    """The group of a corruption; `shot_noise_2` is a harder `shot_noise`.

    >>> group_of("shot_noise_2"), group_of("rain")
    ('noise', 'other')
    """
    return GROUPS.get(re.sub(r"_\d+$", "", name), "other")


def in_table(names: Sequence[str]) -> list[str]:
    """The names in the order of the benchmark's table, others behind."""
    order = [*MAIN, *SEQUENCES, *OTHERS]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def _only(found: Sequence[str], only: Sequence[str], path: Path) -> list[str]:
    if not found:
        raise BadData(f"{path} has no corrupted images, expected arrays or folders of a severity", _TYPE)
    there = [*found, *{group_of(name) for name in found}]
    for word in only:
        if word not in there:
            raise UnknownName(
                f"--only is {word!r}, expected one of {', '.join(in_table([*found]))} of {path}",
                f"--only {in_table([*found])[0]}",
            )
    return in_table([name for name in found if not only or name in only or group_of(name) in only])


def _severities(place: Path) -> tuple[int, ...]:
    """The severities in a folder of one corruption; none: it is no such folder."""
    return tuple(number for number in range(1, MOST + 1) if place.is_dir() and (place / str(number)).is_dir())


def _of_arrays(path: Path, arrays: Mapping[str, Path], there: tuple[str, ...]) -> CorruptedFiles:
    opened = {name: _opened(file) for name, file in arrays.items()}
    dimensions = {array.ndim for array in opened.values()}
    if len(dimensions) > 1 or not dimensions <= {4, 5}:
        raise BadData(
            f"{path} has arrays of {' and '.join(map(str, sorted(dimensions)))} dimensions, expected 4 of "
            "all ([5 N, H, W, C]) or 5 (sequences, [N, T, H, W, C])",
            _TYPE,
        )
    for name, array in opened.items():
        if array.dtype != np.uint8:
            raise BadData(f"{arrays[name]} holds {array.dtype}, expected uint8 as published", _TYPE)
    labels = path / f"{LABELS}.npy"
    known = file_sha256(labels) if labels.is_file() else ""
    digests = {name: content_id([file_sha256(file), known]) for name, file in arrays.items()}
    if dimensions == {5}:
        return CorruptedFiles(path, "sequences", {name: (0,) for name in arrays}, digests, there)
    if not labels.is_file():
        raise BadData(f"{labels} is not there, expected it beside the images, as published", _TYPE)
    if (told := _opened(labels)).ndim != 1:
        raise BadData(f"{labels} has shape {list(told.shape)}, expected one label for each image", _TYPE)
    held = {name: _parts(arrays[name], array, told) for name, array in opened.items()}
    return CorruptedFiles(path, "arrays", held, digests, there)


def _parts(file: Path, array: NDArray[Any], labels: NDArray[Any]) -> tuple[int, ...]:
    """The severities of an array, of which each has as many images as the labels say."""
    n = len(labels) // MOST if _repeats(labels) else len(labels)
    if n == 0 or len(array) % n or len(array) // n > MOST:
        raise BadData(
            f"{file} has {len(array)} images, expected {MOST} severities of the {n} that have a label", _TYPE
        )
    return tuple(range(1, len(array) // n + 1))


def _repeats(labels: NDArray[Any]) -> bool:
    """Whether they are the same labels once for each severity."""
    if len(labels) % MOST:
        return False
    parts = np.asarray(labels).reshape(MOST, -1)
    return bool((parts == parts[0]).all())


def _opened(file: Path) -> NDArray[Any]:
    try:
        return opened(file)
    except (OSError, Unreadable) as error:
        raise BadData(f"{file} is not a readable npy file of a plain array ({why(error)})") from error


def _sizes(place: Path, numbers: Sequence[int]) -> str:
    """The name of the pictures of one corruption: where each lies and how long it is."""
    files = [file for number in numbers for file in folder.files_of(folder.classes_in(place / str(number)))]
    return content_id([[file.relative_to(place).as_posix(), file.stat().st_size] for file in files])


class Opened:
    """The images of a folder for the test images of one data set, which are the same, uncorrupted."""

    def __init__(self, files: CorruptedFiles, data: Dataset) -> None:
        """Raises BadData where labels or sizes are those of other images."""
        self._files, self._data = files, data
        self._channels = data.image_shape[0] if data.image_shape[0] in (1, 3) else None
        self._listings: dict[tuple[str, int], list[Path]] = {}
        if files.kind == "pictures":
            for name, numbers in files.severities.items():
                for number in numbers:
                    self._listings[name, number] = self._listed(files.path / name / str(number))
            return
        self._arrays = {name: _opened(files.path / f"{name}.npy") for name in files.severities}
        labels = files.path / f"{LABELS}.npy"
        if labels.is_file():
            held = _opened(labels)
            self._require_same(held[: len(held) // MOST] if _repeats(held) else held, labels)
        for name, array in self._arrays.items():
            self._check_array(files.path / f"{name}.npy", array)

    def images(self, name: str, severity: int, ids: Sequence[int]) -> Tensor:
        """Images [n, C, H, W] in [0, 1] of some test images, by their positions in the test set."""
        rows = np.asarray(ids)
        if self._files.kind == "pictures":
            paths = [self._listings[name, severity][row] for row in rows]
            pixels = decode(paths, f"{name} {severity}", Silent(), Reading(channels=self._channels))
            if pixels.shape[1:] != self._data.image_shape:
                raise _other_size(paths[0], pixels.shape[1:], self._data)
            return torch.from_numpy(pixels).float() / 255
        return _pixels(self._arrays[name][rows + (severity - 1) * len(self._data.test)])

    def frames(self, name: str, ids: Sequence[int]) -> Iterator[Tensor]:
        """Of a perturbation sequence one frame after the other, [n, C, H, W] in [0, 1]."""
        array = self._arrays[name]
        rows = np.asarray(ids)
        for frame in range(array.shape[1]):
            yield _pixels(array[rows, frame])

    def _listed(self, place: Path) -> list[Path]:
        listing = folder.classes_in(place)
        named = any(name != str(label) for label, name in enumerate(self._data.classes))
        if named and tuple(listing) != self._data.classes:
            odd = sorted({*listing} ^ {*self._data.classes})
            raise BadData(
                f"{place} and {self._data.name} have other classes ({', '.join(odd[:3])}), expected the same",
                f"--data folder:PATH of the {len(listing)} classes",
            )
        self._require_same(folder.labels_of(listing), place)
        return folder.files_of(listing)

    def _require_same(self, labels: NDArray[Any], place: Path) -> None:
        ours = self._data.test.y.numpy()
        if np.array_equal(labels, ours):
            return
        wrong = "as many" if len(labels) != len(ours) else "the same"
        raise BadData(
            f"{place} has {len(labels)} labels and {self._data.name} {len(ours)} test images, "
            f"expected {wrong}: labels of the same images in the same order",
            "--data NAME of the data set that was corrupted",
        )

    def _check_array(self, file: Path, array: NDArray[Any]) -> None:
        height, width, channels = array.shape[-3:]
        if (channels, height, width) != self._data.image_shape:
            raise _other_size(file, (channels, height, width), self._data)
        if self._files.kind == "sequences" and len(array) != len(self._data.test):
            raise BadData(
                f"{file} has {len(array)} sequences and {self._data.name} {len(self._data.test)} test "
                "images, expected one of each image",
                "--data NAME of the data set that was perturbed",
            )
        if self._files.kind == "sequences" and array.shape[1] < 2:
            raise BadData(f"{file} has sequences of {array.shape[1]} frames, expected at least 2")


def _other_size(place: Path, shape: Sequence[int], data: Dataset) -> BadData:
    crop = f"--resize {shape[1]} --crop {shape[1]}" if data.image_shape[1] != shape[1] else "--data NAME"
    return BadData(
        f"{place} has images {list(shape)} and {data.name} {list(data.image_shape)} (C, H, W), expected the "
        "same",
        crop,
    )


def _pixels(pixels: NDArray[Any]) -> Tensor:
    """[n, C, H, W] in [0, 1] of bytes [n, H, W, C]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255


def require_no_poses(only: Sequence[str], poses: str) -> None:
    """Poses are computed, so they are no files."""
    if poses in only:
        raise BadValue(
            "--only poses asks for what no file holds, expected it without --files", "bench shift NAME"
        )
