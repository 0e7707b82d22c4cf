"""Image data sets of Hugging Face: which files are chosen, from where, and what is read out of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data import hf_data
from bench.data.catalog import source
from bench.data.identity import identity
from bench.data.load import load
from bench.errors import BadData, MissingExtra

NAMES = {
    "data/test-00000-of-00001.parquet": ("default", "test"),
    "plain_text/train-00001-of-00002-0123456789abcdef.parquet": ("plain_text", "train"),
    "plain_text/test/0000.parquet": ("plain_text", "test"),
    "default/partial-train/0003.parquet": ("default", "partial-train"),
    "validation.parquet": ("default", "validation"),
    "data/test/part.parquet": ("default", "test"),
}


class Missing(Exception):
    """What the hub says where there is nothing."""


def hub(listed: dict[str, list[str]], cached: Path | None = None, fetched: list[str] | None = None) -> Any:
    """A hub of Hugging Face that has one repository; revision -> its files."""

    def info(repository: str, revision: str, timeout: float) -> Any:
        if revision not in listed:
            raise Missing(f"no {revision}")
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in listed[revision]])

    def snapshot(repository: str, repo_type: str, revision: str, local_files_only: bool) -> str:
        assert repo_type == "dataset" and local_files_only
        if cached is None or revision != "main":
            raise Missing("not in the cache")
        return str(cached)

    def download(repository: str, name: str, repo_type: str, revision: str) -> str:
        assert fetched is not None
        fetched.append(f"{revision}:{name}")
        return f"/cache/{name}"

    return SimpleNamespace(
        HfApi=lambda: SimpleNamespace(dataset_info=info),
        snapshot_download=snapshot,
        hf_hub_download=download,
        errors=SimpleNamespace(RevisionNotFoundError=Missing),
    )


@pytest.fixture
def with_hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(**given: Any) -> None:
        found = hub(**given)
        monkeypatch.setattr(hf_data, "_library", lambda name: found)

    return use


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_data_set_and_split(name):
    found = hf_data._shard(name)
    assert (found.config, found.split) == NAMES[name]


def test_only_the_files_of_the_split_are_downloaded(with_hub):
    fetched: list[str] = []
    files = ["data/train-00000-of-00001.parquet", "README.md"]
    files += [f"data/test-0000{place}-of-00002.parquet" for place in (1, 0)]
    with_hub(listed={"main": files}, fetched=fetched)
    assert [path.name[:10] for path in hf_data.located("hf-data:a/pets", True)] == [
        "test-00000",
        "test-00001",
    ]
    wanted = [f"main:data/test-0000{place}-of-00002.parquet" for place in (1, 0)]
    assert fetched == wanted, "the last first: what is broken off is seen to lack some"


@pytest.mark.parametrize("held", [(1,), (0, 2), (1, 2)])
def test_a_split_that_was_broken_off_is_not_taken_for_the_whole(held):
    names = [f"default/test/{number:04}.parquet" for number in held]
    with pytest.raises(BadData, match="lacks files of its split test"):
        hf_data._chosen(names, "hf-data:a/pets", source("hf-data:a/pets").reading)
    whole = [f"default/test/{number:04}.parquet" for number in range(3)]
    assert len(hf_data._chosen(whole, "hf-data:a/pets", source("hf-data:a/pets").reading)) == 3


def test_where_a_repository_has_other_files_those_that_were_converted_are_taken(with_hub):
    fetched: list[str] = []
    listed = {"main": ["pets.zip"], "refs/convert/parquet": ["default/validation/0000.parquet"]}
    with_hub(listed=listed, fetched=fetched)
    hf_data.located("hf-data:a/pets", True)
    assert fetched == ["refs/convert/parquet:default/validation/0000.parquet"]


def test_what_is_in_the_cache_is_taken_without_asking(with_hub, tmp_path):
    (tmp_path / "test-00000-of-00001.parquet").touch()
    with_hub(listed={}, cached=tmp_path)
    assert hf_data.located("hf-data:a/pets", True) == [tmp_path / "test-00000-of-00001.parquet"]


REFUSED = {
    "not in the cache": ("hf-data:a/pets", [], False, "downloading is switched off"),
    "not whole": ("hf-data:a/pets", ["test-00000-of-00002.parquet"], False, "1 of 2 files"),
    "no such split": ("hf-data:a/pets[split=dev]", ["test.parquet"], False, "split=test"),
    "several splits": ("hf-data:a/pets", ["one.parquet", "two.parquet"], False, "split=one"),
    "several data sets": ("hf-data:a/pets", ["x/test.parquet", "y/test.parquet"], False, "config=x"),
    "nowhere": ("hf-data:a/pets", [], True, "has no Parquet files"),
    "no name": ("hf-data:a b c", [], True, "names no data set"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_had_says_what_to_type(with_hub, tmp_path, kind):
    name, held, download, words = REFUSED[kind]
    for file in held:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    with_hub(listed={"main": []}, cached=tmp_path if held else None)
    with pytest.raises(BadData) as told:
        hf_data.located(name, download)
    assert words in str(told.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"needs huggingface_hub.*pip install .*\[hf\]"):
        load("hf-data:a/pets")


def parquet(path: Path, y: list[Any], names: list[str] | None = None, column: str = "label") -> np.ndarray:
    """A file as the library datasets writes it; gives its images [N, H, W, 3]."""
    arrow = pytest.importorskip("pyarrow")
    files = pytest.importorskip("pyarrow.parquet")
    x = np.random.RandomState(0).randint(0, 256, (len(y), 8, 8, 3), np.uint8)
    pictures = []
    for pixels in x:
        held = io.BytesIO()
        Image.fromarray(pixels).save(held, "PNG")
        pictures.append({"bytes": held.getvalue(), "path": None})
    features: dict[str, Any] = {"img": {"_type": "Image"}}
    if names:
        features[column] = {"names": names, "_type": "ClassLabel"}
    table = arrow.table({"img": pictures, column: y, "n": list(range(len(y)))})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(table, path)
    return x


def test_pictures_labels_and_names_are_those_of_the_file(tmp_path):
    x = parquet(tmp_path / "pets" / "data" / "test-00000-of-00001.parquet", [0, 2, 1, 2], ["a", "b", "c"])
    found = load(f"hf-data:{tmp_path / 'pets'}")
    assert found.name == "hf-data:pets" and found.classes == ("a", "b", "c") and len(found.train) == 0
    assert (found.test.x.numpy() == x.transpose(0, 3, 1, 2)).all() and found.test.y.tolist() == [0, 2, 1, 2]


def test_words_are_classes_and_a_file_alone_is_a_data_set(tmp_path):
    parquet(tmp_path / "x.parquet", ["dog", "cat", "dog"])
    found = load(f"hf-data:{tmp_path / 'x.parquet'}")
    assert found.classes == ("cat", "dog") and found.test.y.tolist() == [1, 0, 1]


def test_the_same_content_is_the_same_data(tmp_path):
    for folder in ("a", "b"):
        parquet(tmp_path / folder / "test.parquet", [0, 1], ["a", "b"])
    parquet(tmp_path / "c" / "test.parquet", [1, 0], ["a", "b"])
    ids = [identity(f"hf-data:{tmp_path / folder}") for folder in "abc"]
    assert ids[0] == ids[1] != ids[2]


def test_columns_are_asked_for_where_they_cannot_be_told(tmp_path):
    parquet(tmp_path / "test.parquet", [0, 1], column="kind")
    with pytest.raises(BadData, match=r"0 columns that may be the label.*\[label=img\]"):
        load(f"hf-data:{tmp_path}")
    assert load(f"hf-data:{tmp_path}[label=kind]").test.y.tolist() == [0, 1]
    with pytest.raises(BadData, match="no column 'x', expected one of img"):
        load(f"hf-data:{tmp_path}[image=x,label=kind]")


@pytest.mark.parametrize(
    ("labels", "words"),
    [([-1, -1], "labels of this split were not published"), ([0, None], "1 images without a label")],
)
def test_labels_that_are_none(tmp_path, labels, words):
    parquet(tmp_path / "test.parquet", labels, ["a", "b"])
    with pytest.raises(BadData, match=words):
        load(f"hf-data:{tmp_path}")


def test_a_damaged_file_is_named(tmp_path):
    parquet(tmp_path / "test.parquet", [0, 1], ["a", "b"])
    whole = (tmp_path / "test.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], whole[:200] + bytes(50) + whole[250:]):
        (tmp_path / "test.parquet").write_bytes(content)
        with pytest.raises(BadData, match=r"test\.parquet|image \d"):
            load(f"hf-data:{tmp_path}")


def test_the_cache_of_the_library_itself_without_a_network(tmp_path):
    pytest.importorskip("huggingface_hub")
    here = tmp_path / "hub" / "datasets--someone--pets"
    parquet(here / "snapshots" / ("a" * 40) / "data" / "test-00000-of-00001.parquet", [0, 1], ["a", "b"])
    (here / "refs").mkdir()
    (here / "refs" / "main").write_text("a" * 40)
    code = "from bench.data.load import load; print(len(load('hf-data:someone/pets', download=False).test))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "2", done.stderr


def test_the_name_is_that_of_the_hub():
    assert source("hf-data:someone/pets[split=dev]").name == "hf-data:someone/pets[split=dev]"
