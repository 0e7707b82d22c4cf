"""Whoever has the boards alone computes a number again: from weights beside them, or by the whole command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bench.core.bitmap import packed
from bench.records.record import to_json
from bench.records.store import Store, read_record
from bench.records.verdicts import worst_case_of
from bench.records.weights import files_of

LINEAR, EPS = Path(__file__).parents[1] / "reference" / "linear_defense.py", 0.2


@pytest.fixture(scope="module")
def run(linear, linear_data, tmp_path_factory):
    """The folder of one run of two chunks, PGD and noise on a linear network."""
    from bench.cli.main import main

    store = tmp_path_factory.mktemp("kept")
    words = ("run", "--defense", linear, "--data", linear_data, "--eps", EPS, "--examples", 60)
    more = ("--suite", "smoke", "--set", "suite.chunk=40", "--store", store)
    with pytest.raises(SystemExit) as left:
        main([*map(str, words), *map(str, more)])
    assert left.value.code == 0
    return next(store.glob("*/record.json")).parent


@pytest.fixture
def boards(run, tmp_path):
    """Boards with its record and weights, and nothing else."""
    record = read_record(run / "record.json")
    for name, content in files_of(record, Store(run.parent)).items():
        (tmp_path / "boards" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "boards" / name).write_bytes(content)
    published(tmp_path / "boards", record)
    return tmp_path / "boards"


def published(boards, record):
    (boards / "records").mkdir(exist_ok=True)
    (boards / "records" / f"{record.run_id}.json").write_text(to_json(record))


@pytest.fixture
def verify(bench, boards, tmp_path, linear_data):
    def call(*words):
        (record,) = (boards / "records").iterdir()
        given = ("--store", tmp_path / "nothing", "--data", linear_data, "--code", LINEAR)
        return bench("verify", record, *given, *words)

    return call


@pytest.mark.parametrize("cells", ["2", "all"])
def test_the_boards_alone_prove_a_record(verify, tmp_path, cells):
    told = verify("--cells", cells)
    assert told.code == 0, told.out + told.err
    assert "FAIL" not in told.out and "ok   weights: sha256" in told.out
    if cells == "all":
        assert {"ok   noise", "ok   fgsm", "ok   pgd_10", "ok   worst case"} <= {
            line.partition(":")[0] for line in told.out.splitlines()
        }
    assert not (tmp_path / "nothing").exists(), "a proof leaves nothing behind"


def test_a_record_that_claims_more_is_found_out(verify, boards, run):
    """One image more is said to hold against everything, and every count agrees with that."""
    record = read_record(run / "record.json")
    held = worst_case_of(record)
    fallen = int(np.flatnonzero(~held)[0])
    held[fallen] = True

    def one_more(interval):
        count = interval.count + 1
        return dataclasses.replace(interval, count=count, value=round(count / interval.n, 6))

    columns = tuple(dataclasses.replace(c, robust=one_more(c.robust)) for c in record.columns)
    marks = dataclasses.replace(record.robust_examples, worst_case=packed(held))
    claimed = dataclasses.replace(
        record, worst_case=one_more(record.worst_case), robust_examples=marks, columns=columns
    )
    published(boards, claimed)
    told = verify("--cells", "all")
    if told.code == 2:  # a record that contradicts itself is not even read
        assert record.run_id in told.err
    else:
        assert told.code == 1 and "FAIL worst case" in told.out


def test_other_weights_are_refused(verify, boards):
    (weights,) = (boards / "weights").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    told = verify()
    assert told.code == 2 and "the SHA-256 is another" in told.err


def test_a_description_of_another_training_is_refused(verify, boards):
    (path,) = (boards / "weights").glob("*.json")
    told = json.loads(path.read_text())
    told["spec"]["spec"]["seed"] = 7
    path.write_text(json.dumps(told))
    found = verify()
    assert found.code == 2 and str(path.name) in found.err


def test_the_whole_command_comes_to_the_same(bench, run, boards, linear_data, linear, tmp_path):
    (record,) = (boards / "records").iterdir()
    given = ("--data", linear_data, "--defense", linear, "--set", "suite.chunk=40")
    told = bench("reproduce", record, "--store", tmp_path / "mine", "--", *given)
    assert told.code == 0, told.out + told.err
    assert "bench run --defense" in told.out and "worst case" in told.out
    assert "every verdict is the record's" in told.out or "more than chance" in told.out


def test_what_is_printed_alone_computes_nothing(bench, boards, tmp_path):
    (record,) = (boards / "records").iterdir()
    told = bench("reproduce", record, "--store", tmp_path / "mine", "--dry-run")
    assert told.code == 0 and "bench run" in told.out and not (tmp_path / "mine").exists()


def test_a_run_that_was_not_audited_is_not_packed(bench, run, tmp_path):
    told = bench("submit", run.name, "--store", run.parent, "--out", tmp_path / "out")
    assert told.code == 2 and "was not audited" in told.err and "bench audit" in told.err
    assert not (tmp_path / "out").exists()


def test_what_is_no_submission_is_told(bench, tmp_path):
    told = bench("submit", "--check", tmp_path)
    assert told.code == 2 and "is no submission" in told.err
