"""What torchvision downloads: from addresses with TLS, and what was published."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from torchvision import datasets

from bench.core.progress import Silent
from bench.data import published, tiny_imagenet, torchvision
from bench.data.catalog import CATALOG
from bench.data.splits import DataRequest, Splits
from bench.errors import BadData


def test_every_data_set_that_is_downloaded_is_known():
    assert set(published.SHA256) == {*torchvision.EXPECTED, "tiny_imagenet"} <= set(CATALOG)
    digests = [sha for files in published.SHA256.values() for sha in files.values()]
    assert all(re.fullmatch("[0-9a-f]{64}", sha) for sha in digests) and len(set(digests)) == len(digests)


def test_every_address_has_tls(monkeypatch, tmp_path):
    """As torchvision's own classes would ask for them."""
    asked = []

    def ask(url, *_, **__):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", ask)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", ask)
    monkeypatch.setattr("torchvision.datasets.svhn.download_url", ask)
    monkeypatch.setattr(tiny_imagenet, "download_url", ask)
    for name in published.SHA256:
        read = tiny_imagenet.read if name == "tiny_imagenet" else torchvision.read
        monkeypatch.setattr(DataRequest, "find", lambda self, readers: None)
        with pytest.raises(BadData, match="its download failed"):
            read(DataRequest(name, tmp_path), Silent())
    assert len(asked) == len(published.SHA256), asked
    assert all(address.startswith("https://") for address in asked), asked


def test_files_are_named_as_torchvision_names_them():
    """Its own MD5s stay demanded; ours come on top."""
    for kind, name in ((datasets.MNIST, "mnist"), (datasets.FashionMNIST, "fashion_mnist")):
        assert {file for file, _ in kind.resources} == set(published.SHA256[name])
    assert datasets.CIFAR10.filename in published.SHA256["cifar10"]
    assert datasets.CIFAR100.filename in published.SHA256["cifar100"]
    assert {name for _, name, _ in datasets.SVHN.split_list.values()} >= set(published.SHA256["svhn"])
    assert tiny_imagenet.ADDRESS.rpartition("/")[2] in published.SHA256["tiny_imagenet"]


def test_a_download_that_is_not_what_was_published_is_refused(monkeypatch, tmp_path):
    place = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"

    def downloaded(folder, download):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"labels")
        return Splits(*(np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, np.int64)) * 2)

    monkeypatch.setitem(torchvision._READERS, "mnist", downloaded)
    monkeypatch.setattr(DataRequest, "find", lambda self, readers: None)
    with pytest.raises(BadData, match=r"t10k-labels-idx1-ubyte\.gz is not the file .* as it was published"):
        torchvision.read(DataRequest("mnist", tmp_path), Silent())
    place.unlink()
    place.parent.rmdir()
    digest = hashlib.sha256(b"labels").hexdigest()
    monkeypatch.setitem(published.SHA256["mnist"], place.name, digest)
    assert len(torchvision.read(DataRequest("mnist", tmp_path), Silent()).x_test) == 1
