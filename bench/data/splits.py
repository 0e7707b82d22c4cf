"""What a reader of a data set is asked for, and what it gives back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.files import at_home
from bench.data.catalog import with_parameters
from bench.data.reading import Reading
from bench.errors import BadData

ROOT_VARIABLE = "BENCH_DATA"
"""The environment variable that names a folder of data sets."""

SYSTEM_ROOT = Path("/usr/share/datasets")
"""Where Debian's packages of data sets put their files."""

LOCAL_ROOT = Path(".data")
"""The folder beside the work, where downloads go unless another is named."""


@dataclass(frozen=True)
class Splits:
    """A data set as its files hold it: images [N, C, H, W], uint8 or floating point; integer labels [N].

    There may be no training images.
    """

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    classes: tuple[str, ...] = ()  # empty: their numbers are their names


def of_test_images(x: NDArray[Any], y: NDArray[Any], classes: tuple[str, ...] = ()) -> Splits:
    """A data set that has test images alone."""
    return Splits(x[:0], y[:0], x, y, classes)


@dataclass(frozen=True)
class DataRequest:
    """Which data set, and where to look for it."""

    name: str  # as the user gave it, such as `mnist` or `folder:PATH`, without brackets
    root: Path | None = None
    download: bool = True
    reading: Reading = field(default_factory=Reading)  # what the brackets say

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders to search, in order."""
        named = os.environ.get(ROOT_VARIABLE)
        places = [self.root, Path(named) if named else None, SYSTEM_ROOT, LOCAL_ROOT]
        return tuple(dict.fromkeys(at_home(place) for place in places if place is not None))

    @property
    def downloads(self) -> Path:
        """The folder for what is downloaded."""
        return at_home(self.root or LOCAL_ROOT)

    def find(self, readers: Sequence[Callable[[str, Path], Splits | None]]) -> Splits | None:
        """What the first reader finds in the first folder; None: nothing is there."""
        for root in self.roots:
            for reader in readers:
                found = reader(self.name, root)
                if found is not None:
                    return found
        return None

    def remedy(self, **changes: object) -> str:
        """What to type so that the files are read in another way."""
        return f'--data "{with_parameters(self.name + self.reading.beside(Reading()), **changes)}"'

    def missing(self, title: str, expected: str, why: str) -> BadData:
        """The error for a data set that is nowhere: where it was sought, what was expected, how to get it."""
        places = ", ".join(str(root) for root in self.roots)
        return BadData(
            f"{title} is in none of {places}, where {expected} was expected, and {why}; download it on a "
            f"machine with a network and name its folder",
            f"--data-root FOLDER, or {ROOT_VARIABLE}=FOLDER in the environment",
        )


def permutation(seed: int, size: int) -> NDArray[np.int64]:
    """A shuffle of 0..size-1 that is the same with every version of NumPy.

    NumPy keeps the streams of RandomState unchanged for ever, and promises it for no newer generator.
    """
    state = np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])
    order: NDArray[np.int64] = state.permutation(size).astype(np.int64)
    return order


def hold_out(labels: NDArray[Any], size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that stay and `size` rows that go, both ascending, classes in proportion.

    Every class keeps at least one example, and gives at least one if it has two; so more than `size` go where
    there are more classes than that.
    """
    values, counts = np.unique(labels, return_counts=True)
    shares = _proportional(counts, size)
    order = permutation(seed, len(labels))
    gone = [order[labels[order] == value][:share] for value, share in zip(values, shares, strict=True)]
    away = np.sort(np.concatenate(gone)) if gone else np.empty(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), away), away


def interleaved(labels: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """An order of all rows in which the first n, whatever n is, have every class in proportion.

    The examples of a class, shuffled, lie evenly spaced over the order from a random start on.
    """
    order = permutation(seed, len(labels))
    state = np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])
    place = np.empty(len(labels))
    for value in np.unique(labels):
        own = np.flatnonzero(labels[order] == value)
        place[own] = (np.arange(len(own)) + state.uniform()) / len(own)
    return order[np.argsort(place, kind="stable")]


def are_mixed(labels: NDArray[Any]) -> bool:
    """Whether most neighbours are of different classes, which in sorted data hardly any are."""
    return bool(2 * np.count_nonzero(labels[1:] != labels[:-1]) >= len(labels) - 1)


def _proportional(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """`size` places shared out in proportion to `counts`, none left empty-handed that can spare one."""
    exact = counts * (size / max(1, int(counts.sum())))
    shares = np.floor(exact).astype(np.int64)
    rest = int(size - shares.sum())
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: max(0, rest)]] += 1
    for poor in np.flatnonzero((shares == 0) & (counts > 1)):
        rich = int(np.argmax(shares))
        shares[rich] -= shares[rich] > 1
        shares[poor] = 1
    capped: NDArray[np.int64] = np.minimum(shares, counts - 1)
    return capped
