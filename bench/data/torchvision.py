"""The data sets that torchvision downloads, and their files however they lie about."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from bench.core.downloads import https_only, require_known
from bench.core.files import regular
from bench.core.progress import Progress
from bench.data import idx, npz
from bench.data.catalog import source
from bench.data.published import SHA256
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData

EXPECTED = {
    "mnist": "mnist.npz, or train-images-idx3-ubyte.gz and its three companions, there or in mnist/ or "
    "MNIST/raw/,",
    "fashion_mnist": "fashion_mnist.npz, or train-images-idx3-ubyte.gz and its three companions, there or in "
    "fashion-mnist/ (Debian's package dataset-fashion-mnist) or FashionMNIST/raw/,",
    "cifar10": "cifar10.npz or cifar-10-batches-py/",
    "cifar100": "cifar100.npz or cifar-100-python/",
    "svhn": "svhn.npz or train_32x32.mat and test_32x32.mat, there or in svhn/,",
}
"""What is sought in each folder, in words."""

CLASSES = {
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
}
"""The names of the labels, which bare arrays do not carry; elsewhere a label's number is its name."""

MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_MNIST = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
SVHN = "https://ufldl.stanford.edu/housenumbers/"
"""Where those lie that torchvision would get without TLS: their publishers' own places, or torchvision's."""

SILENCE = 60.0
"""Seconds without a byte after which a download is given up."""


def read(request: DataRequest, progress: Progress) -> Splits:
    """NAME.npz, raw files or torchvision's own layout in any of the folders; else torchvision's download."""
    found = request.find((npz.beside, idx.beside if request.name in idx.FOLDERS else _beside))
    if found is not None:
        return _named(request.name, found)
    title, expected = source(request.name).title, EXPECTED[request.name]
    if not request.download:
        raise request.missing(title, expected, "downloading is switched off")
    progress.say(f"downloading {title} into {request.downloads}")
    try:
        with polite():
            found = _READERS[request.name](request.downloads, True)
    except (OSError, RuntimeError) as error:  # no network, no such host, no space, or a broken file
        raise request.missing(title, expected, f"its download failed ({reason(error)})") from error
    for file in SHA256[request.name]:
        require_known(request.downloads / idx.FOLDERS.get(request.name, "") / file, SHA256[request.name])
    return _named(request.name, found)


@contextlib.contextmanager
def polite() -> Iterator[None]:
    """A silent server is given up, one without TLS not asked; what torchvision prints is not our output."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        with contextlib.redirect_stdout(sys.stderr), https_only():
            yield
    finally:
        socket.setdefaulttimeout(before)


def reason(error: Exception) -> str:
    """The error in one line of at most 160 characters."""
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__


_FILES = {"cifar10": "cifar-10-batches-py/*", "cifar100": "cifar-100-python/*", "svhn": "*_32x32.mat"}


def _beside(name: str, root: Path) -> Splits | None:
    places = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "svhn": "train_32x32.mat"}
    for folder in (root, root / name):
        if not (folder / places[name]).exists():
            continue
        try:
            for file in folder.glob(_FILES[name]):
                regular(file)
            return _READERS[name](folder, False)
        except (OSError, RuntimeError) as error:
            raise BadData(
                f"{folder / places[name]} is not what was published, or not all of it ({reason(error)})",
                f"removing it and running again, to download {source(name).title} anew",
            ) from error
    return None


def _named(name: str, splits: Splits) -> Splits:
    return replace(splits, classes=splits.classes or CLASSES.get(name, ()))


def _by_https(kind: type[Any], **places: Any) -> type[Any]:
    """torchvision's class with other places to download from; folders are called after the class."""
    return type(kind.__name__, (kind,), places)


def _mnist(kind: Callable[..., Any]) -> Callable[[Path, bool], Splits]:
    def read_from(folder: Path, download: bool) -> Splits:
        train, test = (kind(str(folder), train=part, download=download) for part in (True, False))
        return Splits(
            train.data.numpy()[:, None],
            train.targets.numpy(),
            test.data.numpy()[:, None],
            test.targets.numpy(),
        )

    return read_from


def _cifar(kind: Callable[..., Any]) -> Callable[[Path, bool], Splits]:
    def read_from(folder: Path, download: bool) -> Splits:
        train, test = (kind(str(folder), train=part, download=download) for part in (True, False))
        return Splits(
            train.data.transpose(0, 3, 1, 2),
            np.asarray(train.targets),
            test.data.transpose(0, 3, 1, 2),
            np.asarray(test.targets),
            tuple(train.classes),
        )

    return read_from


def _svhn(folder: Path, download: bool) -> Splits:
    split_list = {
        part: [f"{SVHN}{name}", name, md5] for part, (_, name, md5) in datasets.SVHN.split_list.items()
    }
    kind = _by_https(datasets.SVHN, split_list=split_list)
    train, test = (kind(str(folder), split=part, download=download) for part in ("train", "test"))
    return Splits(train.data, np.asarray(train.labels), test.data, np.asarray(test.labels))


_READERS: dict[str, Callable[[Path, bool], Splits]] = {
    "mnist": _mnist(_by_https(datasets.MNIST, mirrors=[MNIST])),
    "fashion_mnist": _mnist(_by_https(datasets.FashionMNIST, mirrors=[FASHION_MNIST])),
    "cifar10": _cifar(datasets.CIFAR10),
    "cifar100": _cifar(datasets.CIFAR100),
    "svhn": _svhn,
}
