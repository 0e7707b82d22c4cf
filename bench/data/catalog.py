"""The data sets by name, each with its customary budget; known without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from bench.core.files import is_there, resolved
from bench.core.threat import Budget, Norm
from bench.data.reading import Reading, parted, read_brackets
from bench.errors import BadValue, UnknownName, unknown

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
    parameters: tuple[str, ...] = ("resize", "crop")  # what may stand in brackets behind its name
    reading: Reading = field(default_factory=Reading)  # how its files are read
    sizes: bool = False  # whether its loader gives images the size that is wanted


def _linf(eps: str) -> Budget:
    return Budget(Norm.LINF, Fraction(eps))


def _table(*sources: DataSource) -> dict[str, DataSource]:
    return {source.name: source for source in sources}


def _arrays(prefix: str, title: str) -> DataSource:
    """Images of the user's own in arrays."""
    return DataSource(
        name=prefix,
        title=title,
        budget=_linf("8/255"),
        num_classes=None,
        image_shape=None,
        architecture="small_cnn",
        augmentation="none",
        mean=None,
        std=None,
        loader=f"bench.data.{prefix}:read",
        parameters=("resize", "crop", "layout", "range", "labels", "classes"),
    )


HUB = "hf-data"
"""The prefix of Hugging Face's data sets, whose names are no paths."""

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
        name="imagenet",
        title="ImageNet's validation images (ILSVRC 2012)",
        budget=_linf("4/255"),
        num_classes=1000,
        image_shape=(3, 224, 224),
        architecture="resnet18",
        augmentation="none",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        loader="bench.data.imagenet:read",
        reading=Reading(resize=256, crop=224),
        sizes=True,
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
        title="Your images: a folder for each class, in PATH/train and PATH/test, in one of them, or in PATH",
        budget=_linf("8/255"),
        num_classes=None,
        image_shape=None,
        architecture="preact_resnet18",
        augmentation="crop_flip",
        mean=None,
        std=None,
        loader="bench.data.folder:read",
        parameters=("resize", "crop", "channels", "test"),
        sizes=True,
    ),
    DataSource(
        name=HUB,
        title="Test images of an image data set of Hugging Face, OWNER/NAME, or of Parquet files in a folder",
        budget=_linf("8/255"),
        num_classes=None,
        image_shape=None,
        architecture="preact_resnet18",
        augmentation="none",
        mean=None,
        std=None,
        loader="bench.data.hf_data:read",
        parameters=("split", "image", "label", "config", "resize", "crop", "channels"),
        sizes=True,
    ),
    _arrays("npz", "Your arrays: x_train, y_train, x_test and y_test in one file, or the last two alone"),
    _arrays("npy", "Your arrays: x_test.npy and y_test.npy in one folder, those for training beside them"),
    _arrays("pt", "Your tensors: x_train, y_train, x_test, y_test in one dictionary, or images and labels"),
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
    >>> source("folder:photos/pets[resize=256,crop=224]").name, source("mnist[resize=32]").image_shape
    ('folder:pets[crop=224,resize=256]', (1, 32, 32))

    Raises UnknownName, or BadValue for what stands in the brackets.
    """
    plain, brackets = parted(name)
    found = _plain(plain)
    return _read_as(found, read_brackets(name, found.reading, found.parameters)) if brackets else found


def with_parameters(name: str, **changes: object) -> str:
    """The name of a data set whose files are read in another way; what is None stays as it is.

    >>> with_parameters("folder:photos[test=all]", resize=256, crop=None)
    'folder:photos[resize=256,test=all]'

    Raises UnknownName, or BadValue for a parameter that it does not have or that says otherwise.
    """
    plain, _ = parted(name)
    usual, held = _plain(plain), source(name).reading
    for key, value in changes.items():
        if value is not None and key not in usual.parameters:
            raise BadValue(
                f"the data set {plain} has no parameter {key}, expected {', '.join(usual.parameters)}"
            )
        if value is not None and getattr(held, key) not in (getattr(usual.reading, key), value):
            raise BadValue(f"--data is {name} and {key} is {value}, expected one {key}", f"--data {plain}")
    given: Any = {key: value for key, value in changes.items() if value is not None}
    return plain + replace(held, **given).beside(usual.reading)


def at_usual_size(name: str, resize: int | None, crop: int | None) -> str:
    """The name of a data set at the size that a network usually takes, unless its size is known or chosen.

    >>> at_usual_size("folder:photos", 256, 224), at_usual_size("cifar10", 256, 224)
    ('folder:photos[crop=224,resize=256]', 'cifar10')
    >>> at_usual_size("folder:photos[resize=64]", 256, 224)
    'folder:photos[resize=64]'
    """
    usual, held = _plain(parted(name)[0]), source(name).reading
    chosen = (held.resize, held.crop) != (usual.reading.resize, usual.reading.crop)
    return with_parameters(name, resize=resize, crop=crop) if usual.sizes and not chosen else name


def kind(name: str) -> str:
    """The word by which a data set is known: its name, or the prefix of one of the user's own.

    >>> kind("cifar10[resize=64]"), kind("folder:photos")
    ('cifar10', 'folder')
    """
    return parted(name)[0].partition(":")[0]


def user_path(name: str) -> Path:
    """The path in `folder:PATH` or `npz:PATH`, absolute; ~ is the home folder, and .npz may be left out."""
    prefix, _, rest = parted(name)[0].partition(":")
    path = resolved(rest.strip())
    ending = _ENDINGS.get(prefix)
    if ending and path.suffix != ending and not is_there(path):
        return path.with_name(f"{path.name}{ending}")
    return path


def absolute(name: str) -> str:
    """A name by which data of the user's own are found from every folder.

    >>> absolute("hf-data:someone/pets[split=test]"), absolute("npz:/data/x")
    ('hf-data:someone/pets[split=test]', 'npz:/data/x.npz')
    """
    plain, brackets = parted(name)
    prefix, _, rest = plain.partition(":")
    path = user_path(name)
    return f"{prefix}:{rest.strip() if prefix == HUB and not path.exists() else path}{brackets}"


_ENDINGS = {"npz": ".npz", "npy": ".npy", "pt": ".pt"}
"""What may be left out at the end of a path."""


def _plain(name: str) -> DataSource:
    """The data set of a name without brackets."""
    prefix, colon, rest = name.partition(":")
    if colon and prefix == MEMORY.name:
        return replace(MEMORY, name=name)
    if colon and prefix in PREFIXES:
        if not rest.strip():
            raise UnknownName(f"the data set {name!r} has no path", f"--data {prefix}:{_after(prefix)}")
        path = user_path(name)
        stem = path.stem if prefix in _ENDINGS else path.name
        if prefix == HUB and not path.exists():
            stem = rest.strip()
        return replace(PREFIXES[prefix], name=f"{prefix}:{stem}")
    if name in CATALOG:
        return CATALOG[name]
    raise unknown("data set", name, [*CATALOG, *(f"{prefix}:{_after(prefix)}" for prefix in PREFIXES)])


def _after(prefix: str) -> str:
    """What stands for the rest of a name."""
    return "OWNER/NAME" if prefix == HUB else "PATH"


def _read_as(found: DataSource, reading: Reading) -> DataSource:
    """A data set whose files are read in another way, and which is another data set by that."""
    return replace(
        found,
        name=found.name + reading.beside(found.reading),
        reading=reading,
        num_classes=reading.classes or found.num_classes,
        image_shape=_shape(found.image_shape, reading),
    )


def _shape(shape: tuple[int, int, int] | None, reading: Reading) -> tuple[int, int, int] | None:
    """The shape of square images at another size."""
    side = reading.crop or reading.resize
    return shape if shape is None or side is None else (shape[0], side, side)
