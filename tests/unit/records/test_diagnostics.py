"""Diagnostics on disk: the same back, and nothing that is not what was written."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bench.errors import BadData, BadValue
from bench.figures.lookup import STUDIES, find
from bench.records import documents
from bench.studies.diagnose import record as records
from bench.studies.table import study

ROW = study("diagnose")


@pytest.fixture
def stored(diagnosed, tmp_path):
    """The folder of a diagnosis in a store with nothing else."""
    one = diagnosed()
    content = records.pack(one.arrays)
    path = ROW.where(tmp_path / "runs", one.record.id)
    documents.write(path, dataclasses.replace(one.record, arrays_sha256=documents.sha256(content)))
    (path.parent / records.ARRAYS).write_bytes(content)
    return path.parent


def read(folder):
    return ROW.whole(ROW.read(folder / ROW.file), folder.parents[1])


def test_what_was_written_is_read(stored, diagnosed):
    back, held = read(stored), diagnosed()
    assert dataclasses.replace(back.record, arrays_sha256="0" * 64) == held.record
    assert set(back.arrays) == set(held.arrays)
    assert all((back.array(name) == held.array(name)).all() for name in held.arrays)
    assert sorted(path.name for path in stored.iterdir()) == ["arrays.npz", "diagnosis.json"]


def changed(stored, change):
    path = stored / ROW.file
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(extra=1), "extra"),
        (lambda data: data.pop("norm"), "norm"),
        (lambda data: data.update(schema=3), "made by a newer bench"),
        (lambda data: data["attention"].update(student_moved=float("nan")), "has NaN"),
        (lambda data: data["contributions"]["clean"].update(median="many"), "contributions.clean.median"),
    ],
)
def test_anything_else_is_refused_with_its_place(stored, change, words):
    changed(stored, change)
    with pytest.raises(BadData, match=words):
        read(stored)


def test_arrays_of_another_look_are_refused(stored):
    (stored / records.ARRAYS).write_bytes(records.pack({"labels": np.zeros(3)}))
    with pytest.raises(BadData, match="not the file that the record names"):
        read(stored)
    (stored / records.ARRAYS).unlink()
    with pytest.raises(BadData, match="cannot be read"):
        read(stored)


def test_a_missing_array_is_named(diagnosed):
    one = diagnosed()
    with pytest.raises(BadData, match="no array 'gone'"):
        one.array("gone")


def test_ids_beginnings_and_folders_lead_there_once(stored, tmp_path):
    store, file = tmp_path / "runs", (stored / ROW.file).resolve()

    def led(*names, store=store):
        return find(names, store, STUDIES["diagnose"])

    for name in (stored.name, stored.name[:3], str(stored), str(store / ROW.folder)):
        assert led(name) == [file]
    assert led(stored.name, str(stored)) == [file]
    other = stored.with_name(f"{stored.name[:5]}fffffff")
    other.mkdir()
    (other / ROW.file).touch()
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
