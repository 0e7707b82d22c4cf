"""Diagnostics on disk: the same back, and nothing that is not what was written."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from bench.records.found import DIAGNOSTICS, find

from bench.errors import BadData, BadValue
from bench.records import diagnostics as records
from bench.train import loop


@pytest.fixture
def stored(diagnosed, tmp_path):
    """A store with one look in it."""
    one = diagnosed()
    folder = tmp_path / "runs" / records.FOLDER / one.figures.id
    content = records.pack(one.arrays)
    records.write(folder, dataclasses.replace(one.figures, arrays_sha256=records.sha256(content)), content)
    return folder


def test_what_was_written_is_read(stored, diagnosed):
    back, held = records.read(stored), diagnosed()
    assert dataclasses.replace(back.figures, arrays_sha256="") == dataclasses.replace(
        held.figures, arrays_sha256=""
    )
    assert set(back.arrays) == set(held.arrays)
    assert all((back.array(name) == held.array(name)).all() for name in held.arrays)
    assert sorted(path.name for path in stored.iterdir()) == ["arrays.npz", "diagnostics.json"]


def changed(stored, change):
    path = stored / records.FIGURES
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(extra=1), "extra"),
        (lambda data: data.pop("norm"), "norm"),
        (lambda data: data.update(schema=2), "schema 2"),
        (lambda data: data["attention"].update(student_moved=float("nan")), "student_moved"),
        (lambda data: data["contributions"]["clean"].update(median="many"), "contributions.clean.median"),
    ],
)
def test_anything_else_is_refused_with_its_place(stored, change, words):
    changed(stored, change)
    with pytest.raises(BadData, match=words):
        records.read(stored)


def test_arrays_of_another_look_are_refused(stored):
    (stored / records.ARRAYS).write_bytes(records.pack({"labels": np.zeros(3)}))
    with pytest.raises(BadData, match="changed after its diagnostics"):
        records.read(stored)
    (stored / records.ARRAYS).unlink()
    with pytest.raises(BadData, match="cannot be read"):
        records.read(stored)


def test_a_missing_array_is_named(diagnosed):
    one = diagnosed()
    with pytest.raises(BadData, match="no array 'gone'"):
        one.array("gone")


def test_ids_beginnings_and_folders_lead_there_once(stored, tmp_path):
    store, file = tmp_path / "runs", (stored / "diagnostics.json").resolve()

    def led(*names, store=store):
        return find(names, store, DIAGNOSTICS)

    for name in (stored.name, stored.name[:3], str(stored), str(store / records.FOLDER)):
        assert led(name) == [file]
    assert led(stored.name, str(stored)) == [file]
    other = stored.with_name(f"{stored.name[:5]}fffffff")
    other.mkdir()
    (other / records.FIGURES).touch()
    with pytest.raises(BadValue, match="several diagnostics"):
        led(stored.name[:3])
    with pytest.raises(BadData, match=f"expected a defense, a folder or one of {stored.name}"):
        led("zzz")
    with pytest.raises(BadData, match="holds none"):
        led("zzz", store=tmp_path)


def test_the_log_is_read_with_its_gaps(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("stage,epoch,lr,smoothed,loss,clean_accuracy\n1,1,0.1,2.5,2.5,\n1,2,0.01,1.5,1.5,0.75\n")
    curve = records.read_log(path)
    assert curve is not None and curve.terms == ("smoothed",)
    assert curve.column("lr").tolist() == [0.1, 0.01]
    assert np.isnan(curve.column("clean_accuracy")).tolist() == [True, False]
    path.write_text("stage,epoch\n")
    assert records.read_log(path) is None and records.read_log(tmp_path / "none.csv") is None
    path.write_text("stage,epoch\n1,two\n")
    with pytest.raises(BadData, match=r"log\.csv cannot be read"):
        records.read_log(path)


def test_columns_that_are_no_terms_are_those_of_the_training_loop():
    assert records.LOG_COLUMNS == loop._RESERVED
