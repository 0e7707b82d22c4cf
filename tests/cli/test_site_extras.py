"""`bench site` of a store: the images and curves that lie beside its records are on the records' pages."""

from __future__ import annotations

import base64
import csv
import io
import re

import numpy as np
from PIL import Image
from safetensors.numpy import load_file


def test_a_store_lends_its_images_and_curves(bench, linear, linear_data, tmp_path):
    store = tmp_path / "runs"
    shared = ["--data", linear_data, "--examples", "all", "--eps", "1/20", "--store", store]
    assert bench("run", "--defense", linear, "--suite", "smoke", *shared).code == 0
    assert bench("curve", linear, "--over", "eps", "--at", "1/40", *shared).code == 0
    assert bench("site", store, "--out", tmp_path / "site").code == 0
    (record,) = (tmp_path / "site" / "records").glob("*.html")
    page = record.read_text(encoding="utf-8")
    (curve,) = (tmp_path / "site" / "curves").glob("*.svg")
    assert f"../curves/{curve.name}" in page and "<svg" in curve.read_text(encoding="utf-8")

    kept = load_file(store / record.stem / "adversarial.safetensors")
    shown = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert len(shown) == min(24, len(kept["images"])) > 0
    for text, image in zip(shown, kept["images"], strict=False):
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        assert np.array_equal(seen, np.round(255 * image[0]))
    told = re.findall(r"<b>(\d)</b> taken for <b>(\d)</b>", page)
    assert [int(label) for label, _ in told] == kept["labels"][: len(told)].tolist()
    assert all(label != taken for label, taken in told)


def test_a_run_that_held_fully_has_a_page_without_images(bench, linear, linear_data, tmp_path):
    """Nothing can be broken within a radius of 0: its file of images is there, and empty."""
    store = tmp_path / "runs"
    shared = ["--data", linear_data, "--eps", "0", "--store", store]
    assert bench("run", "--defense", linear, "--suite", "smoke", "--examples", "1", *shared).code == 0
    (kept,) = store.glob("*/adversarial.safetensors")
    assert len(load_file(kept)["images"]) == 0
    told = bench("site", store, "--out", tmp_path / "site")
    assert told.code == 0, told.err
    (record,) = (tmp_path / "site" / "records").glob("*.html")
    page = record.read_text(encoding="utf-8")
    assert record.stem == kept.parent.name and "data:image" not in page and "Adversarial images" not in page
    board = bench("board", "--store", store, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(board.out))
    assert row["smoke@1"] == row["clean"] and row["smoke@1_column"] == "", "nobody broke most of nothing"


def test_an_empty_store_has_a_page_without_boards(bench, tmp_path):
    (tmp_path / "runs").mkdir()
    assert bench("site", tmp_path / "runs", "--out", tmp_path / "site").code == 0
    assert not list((tmp_path / "site").glob("boards/*"))


def test_a_place_that_is_not_there_is_one_sentence(bench, tmp_path):
    told = bench("site", tmp_path / "nowhere", "--out", tmp_path / "site")
    assert told.code == 2 and "does not exist, expected a record's file" in told.err
    assert not (tmp_path / "site").exists()
