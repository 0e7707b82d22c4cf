"""Tiny ImageNet: 200 classes of ImageNet at 64x64 pixels (Stanford's course CS231n, 2015).

Its test labels were never published, so its 10,000 validation images are the test set here, as in the
literature.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets.utils import download_url, extract_archive

from bench.core.downloads import require_known
from bench.core.files import read_text
from bench.core.progress import Progress, Silent
from bench.data import npz
from bench.data.catalog import source
from bench.data.pictures import decode
from bench.data.published import SHA256
from bench.data.splits import DataRequest, Splits
from bench.data.torchvision import polite, reason
from bench.errors import BadData

FOLDER = "tiny-imagenet-200"
ADDRESS = "https://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
EXPECTED = f"tiny_imagenet.npz or {FOLDER}/ as it was published (train/, val/, wnids.txt)"


def read(request: DataRequest, progress: Progress) -> Splits:
    """The published folder or tiny_imagenet.npz in any of the folders; else its download of 237 MiB."""

    def beside(name: str, root: Path) -> Splits | None:
        for place in (root / FOLDER, root / name):
            if (place / "train").is_dir():
                return read_folder(place, progress)
        return None

    found = request.find((npz.beside, beside))
    if found is not None:
        return found
    title = source(request.name).title
    if not request.download:
        raise request.missing(title, EXPECTED, "downloading is switched off")
    progress.say(f"downloading {title} into {request.downloads}")
    try:
        with polite():
            download_url(ADDRESS, str(request.downloads), md5=MD5)
        archive = request.downloads / f"{FOLDER}.zip"
        require_known(archive, SHA256[request.name])
        extract_archive(str(archive), str(request.downloads))
    except (OSError, RuntimeError) as error:
        raise request.missing(title, EXPECTED, f"its download failed ({reason(error)})") from error
    return read_folder(request.downloads / FOLDER, progress)


def read_folder(path: Path, progress: Progress | None = None) -> Splits:
    """train/WNID/images/*.JPEG and val/images/*.JPEG, labelled by val/val_annotations.txt."""
    progress = progress or Silent()
    wnids = sorted(p.name for p in (path / "train").iterdir() if p.is_dir())
    label = {wnid: number for number, wnid in enumerate(wnids)}
    train = [(file, label[wnid]) for wnid in wnids for file in _files(path / "train" / wnid / "images")]
    test = _annotated(path / "val", label)
    for part, pairs in (("train", train), ("val", test)):
        if not pairs:
            raise BadData(f"{path / part} has no images, expected Tiny ImageNet as it was published")
    x_train = decode([file for file, _ in train], "Tiny ImageNet: training images", progress)
    x_test = decode([file for file, _ in test], "Tiny ImageNet: test images", progress)
    y_train, y_test = (np.array([number for _, number in pairs]) for pairs in (train, test))
    return Splits(x_train, y_train, x_test, y_test, tuple(wnids))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadData(f"{folder} is not there, expected train/WNID/images/ as Tiny ImageNet was published")
    return sorted(folder.glob("*.JPEG"))


def _annotated(folder: Path, label: dict[str, int]) -> list[tuple[Path, int]]:
    """Files with labels from val_annotations.txt, whose lines begin with a file name, a tab and a WNID."""
    table = folder / "val_annotations.txt"
    if not table.is_file():
        raise BadData(
            f"{table} is not there, expected Tiny ImageNet as it was published; a rearranged copy with a "
            f"folder for each class can be read as folders",
            "--data folder:PATH",
        )
    pairs = []
    for number, line in enumerate(read_text(table).splitlines(), 1):
        file, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in label:
            raise BadData(
                f"{table}, line {number}: the class is {wnid!r}, expected one of the folders of train/"
            )
        pairs.append((folder / "images" / file, label[wnid]))
    return pairs
