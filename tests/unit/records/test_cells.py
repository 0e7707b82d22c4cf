"""A cell counts where it was computed for, and nowhere else."""

import io
import shutil

import numpy as np
import pytest

from bench.records.evidence import cell_images, keep_images, unusable
from bench.records.store import RunFolder

SPEC, SOURCES = {"suite": "any"}, {"module": "0123456789ab"}
ARRAYS = {"scores": np.arange(5.0)}
IDS, IMAGES = np.arange(3), np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)


@pytest.fixture
def told():
    return []


@pytest.fixture
def folder(tmp_path, told):
    """A run with two columns of two chunks, and images of each."""
    return _begun(tmp_path / "aaaaaaaaaaaa", told)


def _begun(path, told):
    folder = RunFolder(path, told.append)
    folder.begin(SPEC, SOURCES)
    for column in ("pgd", "fgsm"):
        for chunk in range(2):
            keep_images(folder, column, chunk, IDS, IMAGES)
            folder.keep(column, chunk, ARRAYS, 1.5)
    return folder


def cell(folder, column="pgd", chunk=0):
    return folder.path / "cells" / column / f"{chunk:04d}.npz"


def test_a_cell_in_its_place_is_read(folder, told):
    arrays, seconds = RunFolder(folder.path, told.append).held("pgd", 1)
    assert set(arrays) == {"scores"} and np.array_equal(arrays["scores"], ARRAYS["scores"])
    assert seconds == 1.5 and told == [] and unusable(folder, "pgd", 1) is None


@pytest.mark.parametrize("of", [("fgsm", 0), ("pgd", 1)])
def test_one_of_another_column_or_chunk_is_not_computed(folder, told, of):
    shutil.copy(cell(folder, *of), cell(folder))
    assert folder.held("pgd", 0) is None
    (sentence,) = told
    assert f"is of {of[0]}, chunk {of[1]}, of aaaaaaaaaaaa: it counts as not computed" in sentence
    shutil.copy(cell_images(folder, *of), cell_images(folder, "pgd", 0))
    assert f"is of {of[0]}, chunk {of[1]}" in unusable(folder, "pgd", 0)


def test_one_of_another_run_is_not_computed(folder, told, tmp_path):
    other = _begun(tmp_path / "bbbbbbbbbbbb", told)
    shutil.copy(cell(other), cell(folder))
    assert folder.held("pgd", 0) is None and "of bbbbbbbbbbbb" in told[0]
    assert folder.held("pgd", 1) is not None


def test_one_of_other_code_is_not_computed(folder, told, tmp_path):
    """The same run, computed elsewhere by code of another day."""
    other = RunFolder(tmp_path / "elsewhere" / folder.path.name)
    other.begin(SPEC, {"module": "ffffffffffff"})
    other.keep("pgd", 0, ARRAYS, 1.5)
    shutil.copy(cell(other), cell(folder))
    assert folder.held("pgd", 0) is None and "another spec.json" in told[0]


def test_cells_under_another_spec_are_thrown_away(folder, tmp_path):
    shutil.copy(folder.path / "spec.json", tmp_path / "spec.json")
    other = RunFolder(tmp_path / "cccccccccccc")
    other.begin({"suite": "other"}, SOURCES)
    shutil.copy(other.path / "spec.json", folder.path / "spec.json")
    assert RunFolder(folder.path).begin(SPEC, SOURCES) == 4
    assert (folder.path / "spec.json").read_bytes() == (tmp_path / "spec.json").read_bytes()


def test_one_that_says_nothing_counts_in_a_run_of_older_making_alone(folder, told):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, seconds=np.float64(2), **ARRAYS)
    cell(folder).write_bytes(buffer.getvalue())
    assert folder.held("pgd", 0) is None and "does not say whose it is" in told[0]
    older = (folder.path / "spec.json").read_text().replace('"owned": true', '"owned": false')
    (folder.path / "spec.json").write_text(older)
    assert RunFolder(folder.path).held("pgd", 0)[1] == 2


@pytest.mark.parametrize("damage", [b"", b"PK", b"\x00" * 300])
def test_a_damaged_one_is_not_computed_and_stays(folder, told, damage):
    """A store that is only read can be looked at."""
    cell(folder).write_bytes(damage)
    assert folder.held("pgd", 0) is None and folder.cell("pgd", 0) is None
    assert "is damaged" in told[0] and cell(folder).read_bytes() == damage
    folder.keep("pgd", 0, ARRAYS, 1.0)
    assert folder.held("pgd", 0)[1] == 1.0


def test_every_flip_in_the_images_of_a_cell_is_seen(folder):
    path = cell_images(folder, "pgd", 0)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert unusable(folder, "pgd", 0) is not None, place
    for cut in (1, 32, 33, 200):
        path.write_bytes(content[:-cut])
        assert unusable(folder, "pgd", 0) is not None
    path.unlink()
    assert unusable(folder, "pgd", 0) is None, "computed without images"
