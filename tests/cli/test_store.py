"""What lies in a store is what it says, or one sentence says that it is not; never another number."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from bench.core.progress import Silent
from bench.errors import BadCheckpoint, BadData
from bench.plan import Request, plan_run, plan_training
from bench.records.store import Store
from bench.runner.columns import RunWork
from bench.runner.options import Options
from bench.runner.weights import weights_behind


@pytest.fixture
def run(bench, linear, linear_data, tmp_path):
    """Run smoke on the linear defense, or on one of other weights."""

    def call(*words, seed=0, store=tmp_path / "runs"):
        given = ["--data", linear_data, "--suite", "smoke", "--eps", "0.2", "--store", store]
        return bench("run", "--defense", f"{linear}[weights_seed={seed}]", *given, *words)

    return call


def only(store, pattern):
    (path,) = store.glob(pattern)
    return path


def comparable(path):
    record = json.loads(path.read_text())
    return {name: record[name] for name in ("run_id", "columns", "worst_case", "evidence", "files")} | {
        "columns": [{**column, "seconds": 0} for column in record["columns"]]
    }


def test_a_cell_of_another_column_is_computed_again(run, tmp_path):
    assert run().code == 0
    record = only(tmp_path / "runs", "*/record.json")
    before, cells = comparable(record), record.parent / "cells"
    record.unlink()
    shutil.copy(cells / "noise" / "0000.npz", cells / "fgsm" / "0000.npz")
    told = run()
    assert told.code == 0 and "is of noise, chunk 0" in told.err and "counts as not computed" in told.err
    assert comparable(record) == before


def test_a_damaged_cell_stops_nothing(run, tmp_path):
    assert run().code == 0
    record = only(tmp_path / "runs", "*/record.json")
    before = comparable(record)
    cell = record.parent / "cells" / "fgsm" / "0000.npz"
    content = cell.read_bytes()
    for place in (30, len(content) // 2, len(content) - 30):
        record.unlink()
        cell.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        told = run()
        assert told.code == 0 and comparable(record) == before, place


def test_another_trainings_weights_are_not_used(run, tmp_path):
    models = tmp_path / "runs" / "models"
    assert run("--checkpoint", "last").code == run("--checkpoint", "last", seed=1).code == 0
    one, other = sorted(models.iterdir())
    for record in (tmp_path / "runs").glob("*/record.json"):
        record.unlink()
    shutil.copy(other / "last.safetensors", one / "last.safetensors")
    told = [run("--checkpoint", "last", seed=seed) for seed in (0, 1)]
    assert sorted(found.code for found in told) == [0, 2]
    refused = next(found for found in told if found.code)
    assert "last.safetensors was changed after its training" in refused.err
    assert refused.err.count("\n") == 1 and "rm -r" in refused.err

    shutil.rmtree(one)
    shutil.copytree(other, one)
    told = [run("--examples", "30", seed=seed) for seed in (0, 1)]
    refused = next(found for found in told if found.code)
    assert "spec.json is of another training" in refused.err

    shutil.copytree(one, tmp_path / "kept")
    (one / "spec.json").unlink()
    refused = next(found for found in [run("--examples", "31", seed=seed) for seed in (0, 1)] if found.code)
    assert "holds training.json without spec.json" in refused.err and "--rerun" in refused.err
    assert not (one / "spec.json").exists(), "nobody says that the code of today has trained them"
    assert run("--rerun", seed=0).code == run("--rerun", seed=1).code == 0
    assert json.loads((one / "training.json").read_text())["identity"] == one.name


def test_a_training_says_what_its_weights_depend_on(run, tmp_path):
    assert run().code == 0
    told = json.loads(only(tmp_path / "runs", "models/*/training.json").read_text())
    made = told["made_with"]
    assert (made["device"], made["devices"], set(made["tf32"])) == ("cpu", 1, {"matmul", "convolutions"})
    assert {"precision", "deterministic", "threads", "python", "torch", "bench"} <= set(made)
    assert set(told["files"]) == {"spec.json", "best.safetensors", "last.safetensors"}


def test_the_table_of_examples_is_that_of_its_record(run, tmp_path):
    assert run().code == run(seed=1).code == 0
    one, other = (Store(tmp_path / "runs").run(path.name) for path in (tmp_path / "runs").glob("?" * 12))
    assert one.examples().keys() == {"noise", "fgsm", "pgd_10"}
    shutil.copy(other.path / "examples.csv", one.path / "examples.csv")
    with pytest.raises(BadData, match="is not the table that run"):
        one.examples()
    assert other.examples().keys() == {"noise", "fgsm", "pgd_10"}


def test_a_worker_trains_nothing(linear, linear_data, tmp_path):
    """One that finds no weights, or others, where it looks."""
    spec = plan_run(Request(defense=linear, data=linear_data, suite="smoke"))
    here = Options(Store(tmp_path / "here"), progress=Silent(), device="cpu")
    RunWork(spec, {})  # nothing is opened yet
    from bench.runner.weights import fit

    fit(spec.training, here)
    told = weights_behind([spec], here.store)
    assert set(told) == {spec.training.id}
    assert RunWork(spec, told).open(here)
    there = Options(Store(tmp_path / "there"), progress=Silent(), device="cpu")
    with pytest.raises(BadCheckpoint, match="they are not there, expected SHA-256"):
        RunWork(spec, told).open(there)
    assert not (tmp_path / "there").exists()
    with pytest.raises(BadCheckpoint, match=f"they have SHA-256 {told[spec.training.id][:12]} there"):
        RunWork(spec, {spec.training.id: "0" * 64}).open(here)


def test_how_many_devices_train_together_is_part_of_the_name():
    one, again, two = (plan_training(Request("pgd_at", "synthetic", devices=n)) for n in (1, 1, 2))
    assert one.id == again.id != two.id
    assert "devices" not in one.encoded() and two.encoded()["devices"] == 2


def test_a_complete_run_answers_from_a_store_that_is_only_read(run, bench, tmp_path, monkeypatch):
    assert run("--json").code == 0
    record = only(tmp_path / "runs", "*/record.json")
    shutil.rmtree(tmp_path / "runs" / "asked", ignore_errors=True)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for module, name in ((tempfile, "mkstemp"), (tempfile, "TemporaryFile"), (os, "mkdir"), (os, "unlink")):
        monkeypatch.setattr(module, name, refuse)
    told = run("--json")
    assert told.code == 0, told.err
    assert told.out == record.read_text() and "is complete" in told.err
    told = run("--examples", "30")
    assert told.code == 2 and "cannot be written to (read-only file system)" in told.err


def test_a_leftover_of_a_killed_process_is_swept(run, tmp_path):
    assert run().code == 0
    record = only(tmp_path / "runs", "*/record.json")
    record.unlink()
    old = record.parent / "cells" / "fgsm" / ".0000.npz.abcdefgh"
    old.write_text("half of")
    os.utime(old, (1, 1))
    assert run().code == 0 and not old.exists()
    assert not list(Path(tmp_path / "runs").rglob(".*.????????"))


def test_the_record_of_another_run_is_never_taken_for_this_one(bench, run, tmp_path):
    for seed in (0, 1):
        assert run(seed=seed).code == 0
    ours, theirs = sorted((tmp_path / "runs").glob("*/record.json"))
    wanted = comparable(ours)
    shutil.copy(theirs, ours)
    asked = [run(seed=seed) for seed in (0, 1)]
    (refused,) = [told for told in asked if told.code]
    assert refused.code == 2 and refused.out == "" and f"expected that of {ours.parent.name}" in refused.err
    assert "--rerun" in refused.err
    assert bench("fsck", tmp_path / "runs", "--repair").code in (0, 1)
    assert all(run(seed=seed).code == 0 for seed in (0, 1)) and comparable(ours) == wanted
