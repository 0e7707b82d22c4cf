"""Results of older schemas are read as if they were made today; newer ones are told as such.

`tests/schemas` holds one result of each schema as the code of its day wrote it. Those that had been
published in schema 1 were converted by hand to schema 2: what is read of the one must be the other.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bench.errors import BadData
from bench.records.reading import UPGRADES, from_json
from bench.records.record import SCHEMA, to_json
from bench.records.store import read_record
from bench.records.upgrades import NOT_NOTED
from bench.studies.table import NAMES, study

SCHEMAS = Path(__file__).parents[2] / "schemas"
EARLIEST = Path(__file__).parents[3] / "benchmarks" / "records" / "cascade"


@pytest.mark.parametrize("name", NAMES)
def test_every_older_schema_has_a_step_and_a_stored_example(name):
    record, result = study(name).module("record"), study(name).result
    assert set(record.UPGRADES) == set(range(1, record.SCHEMA))
    for schema in record.UPGRADES:
        found = study(name).read(SCHEMAS / f"{result}-{schema}.json")
        assert found.schema == record.SCHEMA and record.summary(found)
        assert json.loads((SCHEMAS / f"{result}-{schema}.json").read_text())["schema"] == schema


@pytest.mark.parametrize("name", ["curve", "detect", "shift"])
def test_what_is_read_is_what_was_converted_by_hand(name):
    row = study(name)
    older, newer = (row.read(SCHEMAS / f"{row.result}-{schema}.json") for schema in (1, 2))
    if older.network.paper == NOT_NOTED:  # it was looked up by hand
        papers = [dataclasses.replace(one, paper=NOT_NOTED) for one in newer.networks]
        newer = dataclasses.replace(newer, networks=tuple(papers))
    assert older == newer


def test_records_of_runs_have_one_schema_and_the_earliest_are_read():
    assert set(UPGRADES) == set(range(1, SCHEMA))
    earliest = [path for path in EARLIEST.glob("*.json") if '"met"' not in path.read_text()]
    assert len(earliest) > 20
    for path in earliest:
        record = read_record(path)
        assert all(column.met is not None for column in record.columns if column.robust is not None)


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99])
def test_a_newer_one_is_told_as_such(genuine, schema):
    text = to_json(dataclasses.replace(genuine(), schema=schema))
    with pytest.raises(BadData, match=rf"made by a newer bench \(schema {schema}, .*pip install -U"):
        from_json(text)


@pytest.mark.parametrize("schema", [None, 0, -1, True, "1", 1.5, [1]])
def test_what_is_no_schema_is_one_sentence(genuine, schema):
    held = {**json.loads(to_json(genuine())), "schema": schema}
    with pytest.raises(BadData, match="expected a record of schema 1 or before"):
        from_json(json.dumps(held))


@pytest.mark.parametrize("name", NAMES)
def test_an_older_one_that_lacks_something_is_one_sentence(name, tmp_path):
    row = study(name)
    held = json.loads((SCHEMAS / f"{row.result}-1.json").read_text())
    path = tmp_path / row.file
    for gone in ("spec", "networks", "network", "weights", "training", "provenance", "clean"):
        path.write_text(json.dumps({key: value for key, value in held.items() if key != gone}))
        if gone in held:
            with pytest.raises(BadData, match="is not a valid"):
                row.read(path)


@pytest.mark.parametrize(
    ("name", "former"),
    [("transfer", "transfer.json"), ("shift", "shift-8f21e6f05d0b.json"), ("diagnose", "diagnostics.json")],
)
def test_an_older_one_is_found_under_the_name_of_then(name, former, tmp_path, bench):
    row = study(name)
    content = (SCHEMAS / f"{row.result}-1.json").read_bytes()
    place = tmp_path / row.folder / json.loads(content)["id"]
    place.mkdir(parents=True)
    (place / former).write_bytes(content)
    assert row.files(tmp_path) == [place / former]
    told = bench("list", "runs", "--store", tmp_path)
    assert told.code == 0 and row.read(place / former).id in told.out and told.err == ""
    (place / row.file).write_bytes(content)
    assert row.files(tmp_path) == [place / row.file], "once it is there in the newer form"
