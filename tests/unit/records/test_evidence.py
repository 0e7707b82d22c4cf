"""Files of images, read by the library whose format it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_with_torch

from bench.errors import BadData
from bench.records.evidence import cell_images, drop_cell_images, images, keep_images, write
from bench.records.store import RunFolder

IDS = np.array([7, 3, 11], dtype=np.int64)
IMAGES = np.random.default_rng(0).random((3, 2, 4, 5), dtype=np.float32)


def test_the_library_reads_what_is_written_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "adv.safetensors"
    labels = np.array([0, 1, 0])
    write(path, {"ids": IDS, "labels": labels}, {"columns": '["a"]'}, [IMAGES[:1], IMAGES[1:]], IMAGES.shape)
    held = load_file(path)
    assert set(held) == {"ids", "labels", "images", "sha256"} and held["images"].dtype == np.float32
    assert np.array_equal(held["images"], IMAGES) and np.array_equal(held["ids"], IDS)
    assert np.array_equal(load_with_torch(path)["images"].numpy(), IMAGES)
    with images(path) as found:
        assert len(found) == 3 and found.metadata == {"columns": '["a"]'}
        assert np.array_equal(found.rows(1, 3), IMAGES[1:])
        assert np.array_equal(found.of(np.array([11, 7])), IMAGES[[2, 0]])
        with pytest.raises(BadData, match="lacks the image of example 8"):
            found.of(np.array([8]))


def test_no_image_is_a_file_too(tmp_path: Path) -> None:
    write(tmp_path / "none", {"ids": IDS[:0]}, {}, [], (0, 2, 4, 5))
    assert load_file(tmp_path / "none")["images"].shape == (0, 2, 4, 5)


def test_half_a_file_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected"):
        write(tmp_path / "half", {"ids": IDS}, {}, [IMAGES[:2]], IMAGES.shape)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"12345678", b"\x10" + bytes(7) + b'{"ids": 3}      '])
def test_what_is_no_such_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadData, match="cannot be read"), images(path):
        pass
    with pytest.raises(BadData, match="cannot be read"), images(tmp_path / "absent"):
        pass


def test_cells_and_their_images_go_together(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin({}, {"m": "1"})
    keep_images(folder, "pgd", 0, IDS, IMAGES)
    path = cell_images(folder, "pgd", 0)
    assert path.parent == tmp_path / "cells" / "pgd" and path.is_file()
    path.with_suffix(".npz").write_bytes(b"x")
    assert folder.begin({}, {"m": "2"}) == 1, "one cell was thrown away, its images with it"
    assert not path.exists()
    keep_images(folder, "pgd", 1, IDS, IMAGES)
    drop_cell_images(folder)
    assert list(tmp_path.glob("cells/*/*")) == []
