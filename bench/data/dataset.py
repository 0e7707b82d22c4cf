"""A data set in memory: checked, split for good, and named by its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api import Task
from bench.core.seeds import seed_for
from bench.core.threat import Budget
from bench.data.catalog import Augmentation, DataSource
from bench.data.splits import Splits, are_mixed, hold_out, interleaved, permutation
from bench.errors import BadData, BadValue

DARKEST = 1 / 8
"""The brightest pixel of all images is at least that bright, or they were scaled to another range."""

MOST_CLASSES = 100_000
"""What the largest label of test images alone may make: five times the classes of all of ImageNet."""

LARGEST_VALIDATION = 5000
"""A tenth of the training images is held out for validation, and never more than this."""


@dataclass(frozen=True)
class Images:
    """Images with their labels, as stored: bytes stay bytes until they are asked for."""

    x: Tensor  # [N, C, H, W], uint8 or float32 in [0, 1]
    y: Tensor  # [N] int64 labels
    ids: Tensor  # [N] int64 positions in the split

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images of some rows [B] as float32 in [0, 1], [B, C, H, W], with their labels [B]."""
        rows = rows.to(self.x.device)
        x = self.x[rows]
        return (x.float().div_(255) if x.dtype == torch.uint8 else x), self.y[rows]

    def take(self, rows: Tensor) -> Images:
        """Some rows; they keep their ids."""
        rows = rows.to(self.x.device)
        return Images(self.x[rows], self.y[rows], self.ids[rows])

    def to(self, device: torch.device | str) -> Images:
        """The same images on a device."""
        return Images(self.x.to(device), self.y.to(device), self.ids.to(device))


@dataclass(frozen=True)
class Dataset:
    """Three splits and what is customary for them."""

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]  # of each channel
    std: tuple[float, ...]
    budget: Budget  # the customary one
    augmentation: Augmentation
    architecture: str  # the default one
    classes: tuple[str, ...]  # the name of each label
    train: Images  # without the validation images
    validation: Images
    test: Images
    digest: str  # names the images and labels before they were split
    extra: Images | None = None  # that training mixes into its batches
    extra_share: float = 0.0  # of each batch

    def task(self, architecture: str | None = None) -> Task:
        """What a defense is trained for, with another architecture if one is named."""
        return Task(
            data=self.name,
            num_classes=self.num_classes,
            image_shape=self.image_shape,
            mean=self.mean,
            std=self.std,
            architecture=architecture or self.architecture,
            budget=self.budget,
            classes=self.classes,
        )

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set on a device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )


def assemble(source: DataSource, splits: Splits) -> Dataset:
    """A checked data set with its validation split, from what a reader found.

    The same name and labels give the same validation images everywhere, in an order whose first n have every
    class in proportion. Where there are no training images, the test images tell the shape, the classes up to
    the largest label, and mean and standard deviation. Raises BadData.
    """
    all_train = as_images(splits.x_train, splits.y_train, f"{source.name}, training set")
    test = as_images(splits.x_test, splits.y_test, f"{source.name}, test set")
    num_classes = source.num_classes or _num_classes(all_train, test, splits.classes, source.name)
    if len(all_train):
        check(all_train, f"{source.name}, training set", num_classes, source.image_shape)
    image_shape = _shape(all_train.x) if len(all_train) else source.image_shape
    check(test, f"{source.name}, test set", num_classes, image_shape)
    named = len(splits.classes)
    largest = max(int(part.y.max()) for part in (all_train, test) if len(part))
    if named and (named != num_classes if source.num_classes is None else named <= largest):
        raise BadData(
            f"{source.name}: {named} classes have names, but there are {max(num_classes, largest + 1)}, "
            "expected as many of each"
        )
    mean, std = source.mean, source.std
    if mean is None or std is None:
        mean, std = _statistics(all_train.x if len(all_train) else test.x)
    held = min(LARGEST_VALIDATION, len(all_train) // 10)
    kept, away = hold_out(splits.y_train, held, seed_for("validation", source.name))
    return Dataset(
        name=source.name,
        num_classes=num_classes,
        image_shape=_shape(test.x),
        mean=mean,
        std=std,
        budget=source.budget,
        augmentation=source.augmentation,
        architecture=source.architecture,
        classes=splits.classes or tuple(str(label) for label in range(num_classes)),
        train=_part(all_train, kept),
        validation=_validation(source, _part(all_train, away)),
        test=test,
        digest=_digest(all_train, test),
    )


def check(
    images: Images, place: str, num_classes: int, image_shape: tuple[int, int, int] | None = None
) -> None:
    """Refuse what is not images in [0, 1] with labels 0..num_classes-1; errors name the `place`.

    Images that leave most of [0, 1] unused were scaled twice, or not at all: every budget would be too large
    for them. Those that are all alike were not read.
    """
    x, y = images.x, images.y
    if x.ndim != 4:
        raise BadData(f"{place}: the images have shape {list(x.shape)}, expected [N, C, H, W]")
    if len(x) != len(y):
        raise BadData(f"{place}: there are {len(x)} images and {len(y)} labels, expected as many of each")
    if len(x) == 0 or x.numel() == 0:
        raise BadData(f"{place}: there are no images (shape {list(x.shape)}), expected at least one")
    if image_shape is not None and tuple(x.shape[1:]) != image_shape:
        raise BadData(
            f"{place}: the images have shape {list(x.shape[1:])}, expected {list(image_shape)} (C, H, W)"
        )
    if x.dtype not in (torch.uint8, torch.float32):
        raise BadData(f"{place}: the pixels are {x.dtype}, expected uint8 or float32 in [0, 1]")
    if x.dtype == torch.float32:
        _check_pixels(x, place)
    wrong = torch.nonzero((y < 0) | (y >= num_classes))
    if len(wrong):
        row = int(wrong[0])
        raise BadData(f"{place}: image {row} has label {int(y[row])}, expected 0 to {num_classes - 1}")
    _check_range(x, place)


def test_subset(dataset: Dataset, n: int | None) -> Tensor:
    """Rows of the test set, [n]: the first of a fixed shuffle, so 100 are the first of 1,000.

    None, or more than there are: the whole test set in that order.
    """
    if n is not None and n < 1:
        raise BadValue(f"the number of examples is {n}, expected at least 1 or all", "--examples 1000")
    order = torch.from_numpy(permutation(seed_for("examples", dataset.name), len(dataset.test)))
    return order[:n].clone()


def as_images(x: NDArray[Any], y: NDArray[Any], place: str) -> Images:
    """Arrays that a reader found, as images; BadData where they can be none."""
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise BadData(
            f"{place}: the labels are {y.dtype} of shape {list(y.shape)}, expected integers of shape [N]"
        )
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise BadData(f"{place}: the pixels are {x.dtype}, expected uint8, or floating point in [0, 1]")
    if y.dtype == np.uint64:
        y = np.minimum(y, np.iinfo(np.int64).max)
    pixels = np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32))
    labels = torch.from_numpy(y.astype(np.int64))
    return Images(torch.from_numpy(pixels), labels, torch.arange(len(labels)))


def _num_classes(train: Images, test: Images, names: tuple[str, ...], name: str) -> int:
    """How many classes there are; test images alone need not have every one."""
    if len(train):
        return _count_classes(train.y, f"{name}, training set")
    largest = int(test.y.max()) if len(test) else 0
    if not names and largest >= MOST_CLASSES:
        raise BadData(
            f"{name}, test set: image {int(test.y.argmax())} has label {largest}, expected less than "
            f"{MOST_CLASSES:,}: nobody has more classes"
        )
    return len(names) or max(2, largest + 1)


def _count_classes(labels: Tensor, place: str) -> int:
    """How many classes there are where only labels tell; what `check` refuses is left to it."""
    values = torch.unique(labels)
    if len(values) == 0 or values[0] < 0:
        return int(values[-1]) + 1 if len(values) else 0
    gaps = torch.nonzero(values != torch.arange(len(values)))
    if len(gaps):
        raise BadData(
            f"{place}: no image has label {int(gaps[0])}, though some have {int(values[-1])}, expected "
            f"labels from 0 without a gap"
        )
    if len(values) == 1:
        raise BadData(f"{place}: every image has label 0, expected at least two classes")
    return len(values)


def _part(images: Images, rows: NDArray[np.int64]) -> Images:
    taken = images.take(torch.from_numpy(rows))
    return replace(taken, ids=torch.arange(len(rows)))


def _validation(source: DataSource, images: Images) -> Images:
    """Validation images in the order of their files only where that is known to be no order of classes.

    A copy under a published name may have been sorted, so its labels are asked, too.
    """
    labels = images.y.numpy()
    if source.mixed and are_mixed(labels):
        return images
    return images.take(torch.from_numpy(interleaved(labels, seed_for("validation order", source.name))))


def _shape(x: Tensor) -> tuple[int, int, int]:
    channels, height, width = x.shape[1:]
    return channels, height, width


def _check_pixels(x: Tensor, place: str) -> None:
    low, high = torch.aminmax(x)  # either is NaN if any pixel is
    if low >= 0 and high <= 1:
        return
    wrong = ~((x >= 0) & (x <= 1))
    index = [int(i) for i in np.unravel_index(int(wrong.flatten().to(torch.uint8).argmax()), tuple(x.shape))]
    image, channel, row, column = index
    raise BadData(
        f"{place}: image {image} has the value {float(x[image, channel, row, column]):g} in channel "
        f"{channel}, row {row}, column {column}, expected pixels in [0, 1]",
        "dividing by 255, or storing uint8" if 1 < high <= 255 and low >= 0 else None,
    )


def _check_range(x: Tensor, place: str) -> None:
    if len(x) > 1 and all(torch.equal(part, x[:1].expand_as(part)) for part in torch.split(x, 4096)):
        raise BadData(f"{place}: all {len(x)} images are the same, expected images that differ")
    brightest, white = float(x.max()), 255 if x.dtype == torch.uint8 else 1
    if brightest < DARKEST * white:
        raise BadData(
            f"{place}: no pixel of any image is above {brightest:g} where white is {white}, so all are "
            "nearly black, expected images that use the whole range",
            "multiplying by 255" if brightest * 255 <= 1.001 * white else "scaling them to [0, 1]",
        )


def _statistics(x: Tensor, block: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, to four decimals so that they print exactly."""
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for part in torch.split(x, block):
        values = part.double() / 255 if part.dtype == torch.uint8 else part.double()
        total += values.sum(dim=(0, 2, 3))
        squares += values.square().sum(dim=(0, 2, 3))
    count = x.numel() / x.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return _rounded(mean), tuple(value if value > 0 else 1.0 for value in _rounded(std))


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values.tolist())


def _digest(*parts: Images) -> str:
    """Twelve hexadecimal digits of the SHA-256 of all images and labels."""
    digest = hashlib.sha256()
    for part in parts:
        for tensor in (part.x, part.y):
            array = np.ascontiguousarray(tensor.numpy())
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.data)
    return digest.hexdigest()[:12]
