"""The data sets by name, each with its customary budget; known without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from bench.core.threat import Budget, Norm
from bench.errors import UnknownName, unknown

Augmentation = Literal["none", "crop_flip"]
"""What training images go through; `crop_flip`: zero-padded random crops and horizontal flips."""


@dataclass(frozen=True)
class DataSource:
    """A data set as it is known before it is loaded; None: its files tell."""

    name: str
    title: str
    budget: Budget  # the customary one
    num_classes: int | None
    image_shape: tuple[int, int, int] | None  # C, H, W
    architecture: str  # the default one, a name of bench.nn.architectures
    augmentation: Augmentation
    mean: tuple[float, ...] | None  # of each channel of the training images
    std: tuple[float, ...] | None
    loader: str  # "module:function", called with (Request, Progress) -> Splits
    mixed: bool = False  # its training images lie with classes mixed as published: the first n are like all


def _linf(eps: str) -> Budget:
    return Budget(Norm.LINF, Fraction(eps))


def _table(*sources: DataSource) -> dict[str, DataSource]:
    return {source.name: source for source in sources}


_TORCHVISION = "bench.data.torchvision:read"

CATALOG: Mapping[str, DataSource] = _table(
    DataSource(
        name="digits",
        title="scikit-learn's handwritten digits",
        budget=_linf("0.2"),
        num_classes=10,
        image_shape=(1, 8, 8),
        architecture="small_cnn",
        augmentation="none",
        mean=(0.3058,),
        std=(0.3763,),
        loader="bench.data.digits:read",
        mixed=True,
    ),
    DataSource(
        name="mnist",
        title="MNIST",
        budget=_linf("0.3"),
        num_classes=10,
        image_shape=(1, 28, 28),
        architecture="small_cnn",
        augmentation="none",
        mean=(0.1307,),
        std=(0.3081,),
        loader=_TORCHVISION,
        mixed=True,
    ),
    DataSource(
        name="fashion_mnist",
        title="Fashion-MNIST",
        budget=_linf("0.1"),
        num_classes=10,
        image_shape=(1, 28, 28),
        architecture="small_cnn",
        augmentation="none",
        mean=(0.2860,),
        std=(0.3530,),
        loader=_TORCHVISION,
        mixed=True,
    ),
    DataSource(
        name="cifar10",
        title="CIFAR-10",
        budget=_linf("8/255"),
        num_classes=10,
        image_shape=(3, 32, 32),
        architecture="preact_resnet18",
        augmentation="crop_flip",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        loader=_TORCHVISION,
        mixed=True,
    ),
    DataSource(
        name="cifar100",
        title="CIFAR-100",
        budget=_linf("8/255"),
        num_classes=100,
        image_shape=(3, 32, 32),
        architecture="preact_resnet18",
        augmentation="crop_flip",
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        loader=_TORCHVISION,
        mixed=True,
    ),
    DataSource(
        name="svhn",
        title="SVHN",
        budget=_linf("8/255"),
        num_classes=10,
        image_shape=(3, 32, 32),
        architecture="preact_resnet18",
        augmentation="none",
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        loader=_TORCHVISION,
        mixed=True,
    ),
    DataSource(
        name="tiny_imagenet",
        title="Tiny ImageNet",
        budget=_linf("8/255"),
        num_classes=200,
        image_shape=(3, 64, 64),
        architecture="preact_resnet18",
        augmentation="crop_flip",
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2770, 0.2691, 0.2821),
        loader="bench.data.tiny_imagenet:read",
    ),
    DataSource(
        name="synthetic",
        title="Three generated patterns for tests, not a benchmark",
        budget=_linf("0.1"),
        num_classes=3,
        image_shape=(1, 8, 8),
        architecture="small_cnn",
        augmentation="none",
        mean=(0.375,),
        std=(0.2458,),
        loader="bench.data.synthetic:read",
        mixed=True,
    ),
)
"""Name -> data set."""

PREFIXES: Mapping[str, DataSource] = _table(
    DataSource(
        name="folder",
        title="Your images: one folder for each class, in PATH/train and PATH/test or in PATH alone",
        budget=_linf("8/255"),
        num_classes=None,
        image_shape=None,
        architecture="preact_resnet18",
        augmentation="crop_flip",
        mean=None,
        std=None,
        loader="bench.data.folder:read",
    ),
    DataSource(
        name="npz",
        title="Your arrays: x_train, y_train, x_test and y_test in one file",
        budget=_linf("8/255"),
        num_classes=None,
        image_shape=None,
        architecture="small_cnn",
        augmentation="none",
        mean=None,
        std=None,
        loader="bench.data.npz:read",
    ),
)
"""Prefix -> data set, written `folder:PATH` and `npz:PATH`."""


MEMORY = DataSource(
    name="memory",
    title="Test images alone, which a Python program holds: bench.evaluate(network, x, y)",
    budget=_linf("8/255"),
    num_classes=None,
    image_shape=None,
    architecture="small_cnn",
    augmentation="none",
    mean=None,
    std=None,
    loader="bench.data.memory:read",
)
"""The data sets `memory:DIGEST`, which only the process that holds them can name."""


def source(name: str) -> DataSource:
    """The data set of that name; one of the user's own is called after its folder or file.

    >>> source("cifar10").budget.label, source("folder:photos/cifar10-jpeg/").name
    ('Linf 8/255', 'folder:cifar10-jpeg')
    """
    prefix, colon, rest = name.partition(":")
    if colon and prefix == MEMORY.name:
        return replace(MEMORY, name=name)
    if colon and prefix in PREFIXES:
        if not rest.strip():
            raise UnknownName(f"the data set {name!r} has no path", f"--data {prefix}:PATH")
        path = user_path(name)
        stem = path.stem if prefix == "npz" else path.name
        return replace(PREFIXES[prefix], name=f"{prefix}:{stem}")
    if name in CATALOG:
        return CATALOG[name]
    raise unknown("data set", name, [*CATALOG, *(f"{prefix}:PATH" for prefix in PREFIXES)])


def user_path(name: str) -> Path:
    """The path in `folder:PATH` or `npz:PATH`, absolute; ~ is the home folder, and .npz may be left out."""
    prefix, _, rest = name.partition(":")
    path = Path(rest.strip()).expanduser().resolve()
    if prefix == "npz" and path.suffix != ".npz" and not path.exists():
        return path.with_name(f"{path.name}.npz")
    return path
