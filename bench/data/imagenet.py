"""ImageNet's 50,000 validation images, as they are unpacked into folders, or in the archives as published."""

from __future__ import annotations

from pathlib import Path

from bench.core.progress import Progress
from bench.data import folder
from bench.data.catalog import source
from bench.data.outputs import SYNSET
from bench.data.pictures import decode
from bench.data.splits import DataRequest, Splits, of_test_images
from bench.errors import BadData

CLASSES, IMAGES = 1000, 50_000

FOLDERS = ("", "imagenet", "ImageNet", "ILSVRC2012")
"""Where it is sought in each root."""

PARTS = ("val", "ILSVRC2012_img_val")

ARCHIVES = ("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")
"""The images, and what says which class each has."""

EXPECTED = (
    f"imagenet/val/ with a folder for each of 1,000 synsets (n01440764, ...), or {' and '.join(ARCHIVES)} in "
    "imagenet/,"
)


def read(request: DataRequest, progress: Progress) -> Splits:
    """The validation images in any of the folders; archives are unpacked where they lie, once.

    Raises BadData: they are nowhere, or not all there.
    """
    for root in request.roots:
        for place in (root / name for name in FOLDERS):
            found = unpacked(place) or _unpack(place, progress)
            if found is not None:
                return _read(found, request, progress)
    title = source(request.name).title
    raise request.missing(title, EXPECTED, "nobody may download it without having agreed to its terms")


def unpacked(place: Path) -> Path | None:
    """The folder below another whose folders are named by synsets; None: there is none."""
    for part in (place / name for name in PARTS):
        if part.is_dir() and any(SYNSET.fullmatch(path.name) for path in part.iterdir() if path.is_dir()):
            return part
    return None


def _unpack(place: Path, progress: Progress) -> Path | None:
    """The same out of the archives, by torchvision, which knows their digests."""
    images, kit = (place / name for name in ARCHIVES)
    if not images.is_file():
        return None
    if not kit.is_file():
        raise BadData(
            f"{images} is there and {kit.name} is not, expected both in one folder", f"cp {kit.name} {place}"
        )
    from torchvision.datasets import ImageNet

    from bench.data.torchvision import polite, reason

    progress.say(f"unpacking {images} beside it, as torchvision does")
    try:
        with polite():
            ImageNet(str(place), split="val")
    except (OSError, RuntimeError) as error:
        raise BadData(
            f"{images} cannot be unpacked with {kit.name} ({reason(error)})", f"rm -r {place / PARTS[0]}"
        ) from error
    return unpacked(place)


def _read(place: Path, request: DataRequest, progress: Progress) -> Splits:
    listing = folder.classes_in(place)
    if len(listing) != CLASSES:
        raise BadData(
            f"{place} has {len(listing)} folders, expected one for each of ImageNet's {CLASSES:,} synsets",
            f"--data folder:{place}",
        )
    count = len(folder.files_of(listing))
    if count != IMAGES:
        raise BadData(
            f"{place} has {count:,} images, expected all {IMAGES:,} of ImageNet's validation set",
            f"--data folder:{place}",
        )
    x = decode(folder.files_of(listing), "ImageNet: validation images", progress, request.reading)
    return of_test_images(x, folder.labels_of(listing), tuple(listing))
