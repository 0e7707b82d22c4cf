"""ImageNet's validation images: unpacked, in archives as they were published, and not there."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import imagenet

from bench.data.catalog import source
from bench.data.load import load
from bench.errors import BadData

SYNSETS = [f"n{number:08}" for number in range(1000)]
SMALL = "imagenet[crop=4,resize=4]"


@pytest.fixture(autouse=True)
def one_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole data set is a picture of each class."""
    monkeypatch.setattr("bench.data.imagenet.IMAGES", 1000)


def shade(number: int) -> bytes:
    """A picture of 4 x 4 pixels, each class another colour."""
    held = io.BytesIO()
    colour = (number % 250, number // 4, 7)
    Image.fromarray(np.full((4, 4, 3), colour, np.uint8)).save(held, "PNG")
    return held.getvalue()


def unpacked(place: Path, count: int = 1000) -> None:
    for number, name in enumerate(SYNSETS[:count]):
        (place / name).mkdir(parents=True)
        (place / name / "ILSVRC2012_val_1.png").write_bytes(shade(number))


@pytest.mark.parametrize("where", ["imagenet/val", "val", "ILSVRC2012/ILSVRC2012_img_val"])
def test_folders_of_synsets_in_their_order(tmp_path, where):
    unpacked(tmp_path / where)
    found = load(SMALL, tmp_path, download=False)
    assert found.name == SMALL and found.classes == tuple(SYNSETS) and found.image_shape == (3, 4, 4)
    assert found.test.y.tolist() == list(range(1000)) and len(found.train) == 0
    assert found.test.x[:, :, 0, 0].tolist() == [[number % 250, number // 4, 7] for number in range(1000)]


def test_its_customary_size_and_radius():
    assert source("imagenet").image_shape == (3, 224, 224) and source("imagenet").budget.label == "Linf 4/255"
    assert source("imagenet").reading.resize == 256


def test_less_than_a_thousand_classes_are_a_folder(tmp_path):
    unpacked(tmp_path / "imagenet" / "val", 10)
    with pytest.raises(BadData, match=r"has 10 folders, expected .* 1,000 synsets; try: --data folder:"):
        load(SMALL, tmp_path, download=False)


def test_a_thousand_folders_that_lack_pictures_are_no_imagenet(tmp_path):
    unpacked(tmp_path / "imagenet" / "val")
    (tmp_path / "imagenet" / "val" / SYNSETS[7] / "one_more.png").write_bytes(shade(7))
    with pytest.raises(BadData, match=r"has 1,001 images, expected all 1,000 .*; try: --data folder:"):
        load(SMALL, tmp_path, download=False)


def test_nothing_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadData) as told:
        load("imagenet", tmp_path)
    for words in (
        "imagenet/val/",
        "ILSVRC2012_img_val.tar",
        "ILSVRC2012_devkit_t12.tar.gz",
        "--data-root FOLDER",
    ):
        assert words in str(told.value)


def archives(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both, in the form of those that were published: image k has the class 1000 - k."""
    place.mkdir()
    with tarfile.open(place / "ILSVRC2012_img_val.tar", "w") as held:
        for number in range(1, 1001):
            _add(held, f"ILSVRC2012_val_{number:08}.JPEG", shade(1000 - number))
    rows = np.zeros(1000, [(name, object) for name in ("id", "wnid", "words", "gloss", "num_children")])
    for number, name in enumerate(SYNSETS):
        rows[number] = (number + 1, name, f"class {number}", "", 0)
    meta = io.BytesIO()
    savemat(meta, {"synsets": rows})
    truth = "\n".join(str(1001 - number) for number in range(1, 1001)) + "\n"
    with tarfile.open(place / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as held:
        folder = "ILSVRC2012_devkit_t12/data"
        _add(held, f"{folder}/meta.mat", meta.getvalue())
        _add(held, f"{folder}/ILSVRC2012_validation_ground_truth.txt", truth.encode())
    for part, name in (("val", "ILSVRC2012_img_val.tar"), ("devkit", "ILSVRC2012_devkit_t12.tar.gz")):
        digest = hashlib.md5((place / name).read_bytes()).hexdigest()
        monkeypatch.setitem(imagenet.ARCHIVE_META, part, (name, digest))


def _add(held: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    held.addfile(about, io.BytesIO(content))


def test_archives_are_unpacked_by_torchvision(tmp_path, monkeypatch):
    archives(tmp_path / "imagenet", monkeypatch)
    found = load(SMALL, tmp_path, download=False)
    assert found.test.y.tolist() == list(range(1000))
    assert found.test.x[:, 0, 0, 0].tolist() == [number % 250 for number in range(1000)]


def test_archives_that_are_not_those_that_were_published(tmp_path, monkeypatch):
    archives(tmp_path / "imagenet", monkeypatch)
    with (tmp_path / "imagenet" / "ILSVRC2012_img_val.tar").open("ab") as file:
        file.write(bytes(10))
    with pytest.raises(BadData, match=r"ILSVRC2012_img_val\.tar cannot be unpacked"):
        load(SMALL, tmp_path, download=False)
    (tmp_path / "imagenet" / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    with pytest.raises(BadData, match="expected both in one folder"):
        load(SMALL, tmp_path, download=False)
