"""Rows of adversarial images are read as far as there are any."""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from bench.records.evidence import images


def test_rows_end_where_the_images_end(tmp_path):
    held = np.random.default_rng(0).random((2, 1, 4, 4), dtype=np.float32)
    path = tmp_path / "adversarial.safetensors"
    safetensors.numpy.save_file({"ids": np.arange(2), "images": held}, path)
    with images(path) as found:
        assert np.array_equal(found.rows(0, 10), held)
        assert np.array_equal(found.rows(1, 2), held[1:])
        assert found.rows(2, 10).shape == found.rows(5, 9).shape == (0, 1, 4, 4)
