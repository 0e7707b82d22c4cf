"""`bench run` keeps images that prove its number, and `bench verify` finds what was changed afterwards."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bench.evaluate import diagnostics
from bench.records.evidence import keep_images
from bench.records.seal import seal
from bench.records.store import read_record
from bench.runner.recompute import columns_differ

LINEAR, EPS = Path(__file__).parents[1] / "reference" / "linear_defense.py", 0.2


@pytest.fixture(scope="module")
def kept(linear, linear_data, tmp_path_factory):
    """A store with one run of two chunks, PGD and noise on a linear network."""
    from bench.cli.main import main

    store = tmp_path_factory.mktemp("kept")
    words = [
        "run",
        "--defense",
        linear,
        "--data",
        linear_data,
        "--eps",
        EPS,
        "--examples",
        60,
        "--suite",
        "smoke",
    ]
    with pytest.raises(SystemExit) as left:
        main([*map(str, words), "--set", "suite.chunk=40", "--store", str(store)])
    assert left.value.code == 0
    return store


@pytest.fixture
def store(kept, tmp_path):
    """A copy of it, to be spoilt."""
    shutil.copytree(kept, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def verify(bench, store, linear_data):
    """Verify the run of that store; whatever is wrong is found under its name."""
    run = next(store.glob("*/record.json")).parent

    def call(*words):
        given = ("--store", store, "--data", linear_data, "--code", LINEAR)
        return bench("verify", run.name, *given, *words)

    call.run = run
    return call


def failed(told):
    return [line.split(":")[0].removeprefix("FAIL ") for line in told.out.splitlines() if line[:4] == "FAIL"]


def test_a_sound_run_holds_to_the_last_bit(verify):
    told = verify("--cells", "all")
    assert told.code == 0 and not failed(told), told.out
    assert told.out.count("all arrays of 40 examples are equal") == 3
    assert told.out.count("all arrays of 20 examples are equal") == 3
    assert told.out.splitlines()[-1] == f"run {verify.run.name}: 15 of 15 hold"
    assert sum("chunk" in line for line in verify("--cells", 2).out.splitlines()) == 2
    plain = json.loads(verify("--json").out)
    assert plain["holds"] and {"what", "holds", "detail"} == set(plain["proofs"][0])


def test_the_kept_images_prove_the_number(verify, store, arrays):
    """Every one is within radius and box, and the linear classifier, written by hand, gets it wrong."""
    record, held = read_record(verify.run / "record.json"), load_file(verify.run / "adversarial.safetensors")
    x, y = arrays["x_test"][held["ids"]], arrays["y_test"][held["ids"]]
    layer = load_file(next(store.glob("models/*/best.safetensors")))
    weight, bias = layer["1.weight"], layer["1.bias"]
    wrong = (held["images"].reshape(len(y), -1) @ weight.T + bias).argmax(1) != y
    assert wrong.all() and np.array_equal(held["labels"], y)
    assert np.abs(held["images"] - x).max() <= EPS + 1e-6
    assert held["images"].min() >= 0 and held["images"].max() <= 1
    evidence = record.evidence
    assert evidence.images == len(y) == record.examples - record.worst_case.count > 0
    assert evidence.again == record.worst_case
    columns = {column.name: n for n, column in enumerate(record.columns)}
    assert set(held["columns"]) <= set(columns.values()) and columns["noise"] == 0

    eight = np.round(held["images"] * 255) / 255
    held_after = (eight.reshape(len(y), -1) @ weight.T + bias).argmax(1) == y
    assert evidence.rounded.count == record.worst_case.count + held_after.sum()
    assert evidence.left == (np.abs(eight - x).reshape(len(y), -1).max(1) > EPS + 1e-6).sum() > 0
    assert not list(verify.run.glob("cells/*/*.safetensors")), "what the worst case needs is kept, once"


def test_a_changed_cell_is_found(verify):
    path = verify.run / "cells" / "pgd_10" / "0001.npz"
    arrays = dict(np.load(path))
    robust = np.flatnonzero(arrays["attacked"] == arrays["labels"])
    arrays["attacked"][robust[0]] = 1 - arrays["labels"][robust[0]]
    np.savez_compressed(path, **arrays)
    told = verify("--cells", "all")
    assert told.code == 1
    assert {"columns", "examples.csv", "pgd_10, chunk 1"} <= set(failed(told))
    assert f"attacked of example {arrays['ids'][robust[0]]} is" in told.out
    assert "1 of 20 verdicts differ" in told.out


def test_a_last_bit_is_found_and_what_may_be_why(verify, monkeypatch):
    path = verify.run / "cells" / "fgsm" / "0000.npz"
    arrays = dict(np.load(path))
    arrays["distance"][3] = np.nextafter(arrays["distance"][3], 1)
    np.savez_compressed(path, **arrays)
    record = json.loads((verify.run / "record.json").read_text())
    record["provenance"]["threads"] = 96
    record["provenance"]["packages"]["torch"] = "0.0.1"
    (verify.run / "record.json").write_text(seal(json.dumps(record)))
    told = verify("--cells", "all", "--tolerance", 0)
    assert told.code == 1 and failed(told) == ["fgsm, chunk 0"]
    assert "0 of 40 verdicts differ" in told.out
    assert ", 96 then (OMP_NUM_THREADS)" in told.out and ", 0.0.1 then" in told.out
    told = verify("--cells", "all")
    assert told.code == 0 and "equal within 0.01 of the spread of the logits; 0 of 40 verdicts" in told.out
    assert ", 96 then (OMP_NUM_THREADS)" in told.out


def overturned(verify, column, standing):
    """In that column an example that stands, the surest of all or the least sure, is said to have fallen."""
    path = verify.run / "cells" / column / "0000.npz"
    arrays = dict(np.load(path))
    here = np.flatnonzero(arrays["attacked"] == arrays["labels"])
    row = here[standing]
    arrays["attacked"][row] = 1 - arrays["labels"][row]
    np.savez_compressed(path, **arrays)
    return int(arrays["ids"][row])


def lines_of(told, what):
    return [line for line in told.out.splitlines() if what in line]


def test_elsewhere_borderline_images_are_named_and_others_fail(verify):
    """On the machine of the run any difference fails; elsewhere one near the boundary may go either way."""
    example = overturned(verify, "pgd_10", 0)
    told = verify("--cells", "all")
    assert "pgd_10, chunk 0" in failed(told) and "--tolerance 0.01" in told.out
    (line,) = lines_of(verify("--cells", "all", "--tolerance", 1), "pgd_10, chunk 0")
    assert line.startswith("ok ") and f"1 of 40 verdicts differ; borderline: {example}" in line
    (line,) = lines_of(verify("--cells", "all", "--tolerance", 1e-9), "pgd_10, chunk 0")
    assert line.startswith("FAIL") and f"beyond the tolerance: {example}" in line


def test_what_the_stored_image_still_breaks_is_no_contradiction(verify, monkeypatch):
    """An attack that gets nowhere here does not disprove an image that fools the network here, too."""
    monkeypatch.setattr("bench.attacks.fgsm.FGSM.__call__", lambda self, oracle, x, *rest: x)
    told = verify("--cells", "all", "--tolerance", 1e-9)
    broke = set(load_file(verify.run / "adversarial.safetensors")["ids"].tolist())
    for line in lines_of(told, "fgsm, chunk"):
        proven = line.partition("by the stored image here, too: ")[2].partition(";")[0]
        assert {int(i) for i in proven.split(", ")} <= broke


def test_changed_images_are_found(verify):
    path = verify.run / "adversarial.safetensors"
    held = load_file(path)
    shutil.copy(path, path.with_suffix(".kept"))
    held["images"][0] = 0.5
    save_file(held, path)
    assert "evidence" in failed(verify())
    path.write_bytes(b"no images")
    assert failed(verify()) == ["evidence"]
    path.unlink()
    assert failed(verify()) == ["evidence"]


def test_changed_weights_and_numbers_are_found(verify, store):
    text = (verify.run / "record.json").read_text()
    record = json.loads(text)
    record["training"]["sha256"] = "0" * 64
    (verify.run / "record.json").write_text(seal(json.dumps(record)))
    assert failed(verify()) == ["weights"]


CONTRADICTORY = {
    "clean accuracy": (lambda r: r["clean"].update(count=r["clean"]["count"] - 1), "clean is 1 ["),
    "a lower worst case": (lambda r: r["worst_case"].update(count=0), "worst_case is "),
    "another budget": (lambda r: r.update(eps="0.3"), "its eps is 3/10, and 1/5 in its spec"),
    "more examples": (lambda r: r.update(examples=61), "clean is of 60 examples, and the run of 61"),
    "a traded success rate": (
        lambda r: r["columns"][1].update(attack_success_rate=0.0),
        "fgsm has a success rate of 0.0",
    ),
    "the strongest column deleted": (lambda r: r["columns"].pop(), "its columns is noise, fgsm, and"),
}


@pytest.mark.parametrize("change", CONTRADICTORY.values(), ids=CONTRADICTORY)
def test_a_record_that_contradicts_itself_is_not_even_read(verify, change):
    forge, told = change
    record = json.loads((verify.run / "record.json").read_text())
    forge(record)
    (verify.run / "record.json").write_text(seal(json.dumps(record)))
    refused = verify("--cells", 1)
    assert refused.code == 2 and refused.out == "" and f"contradicts itself: {told}" in refused.err, (
        refused.err
    )


FORGED = {
    "a custom run on a board": (lambda r: r.update(custom=False), "summary", "custom is True"),
    "cheaper queries": (lambda r: r["columns"][2].update(queries_mean=9e9), "columns", "pgd_10.queries_mean"),
    "the strongest column skipped": (lambda r: without_the_strongest(r), "columns", "pgd_10.skipped is None"),
}


def without_the_strongest(record):
    gone = dict.fromkeys(("robust", "attack_success_rate", "met", "broke"))
    record["columns"][2].update(gone, skipped="it was not needed")
    record.update(worst_case=record["columns"][1]["robust"], robust_examples=None, evidence=None)


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_whatever_does_not_follow_from_the_cells_is_found(verify, change):
    forge, proof, told = change
    record = json.loads((verify.run / "record.json").read_text())
    forge(record)
    (verify.run / "record.json").write_text(seal(json.dumps(record)))
    found = verify("--cells", 1)
    assert found.code == 1 and proof in failed(found), found.out
    assert told in found.out


def test_a_skipped_column_needs_its_reason_and_a_finding_its_place(verify, monkeypatch):
    """Cells deleted with the numbers they gave; and a sign that the cells show and the record hides."""
    shutil.rmtree(verify.run / "cells" / "pgd_10")
    record = json.loads((verify.run / "record.json").read_text())
    without_the_strongest(record)
    (verify.run / "record.json").write_text(seal(json.dumps(record)))
    monkeypatch.setattr(diagnostics, "SLACK", -1)
    found = verify("--cells", 1)
    assert {"columns", "findings"} <= set(failed(found)), found.out
    assert "pgd_10 is said to be skipped" in found.out and "left-budget" in found.out


def test_other_code_is_refused_and_can_be_shown_to_change_nothing(verify):
    record = json.loads((verify.run / "record.json").read_text())
    record["provenance"]["sources"]["bench.attacks.pgd"] = "000000000000"
    (verify.run / "record.json").write_text(seal(json.dumps(record)))
    refused = verify()
    assert refused.code == 2 and "bench.attacks.pgd" in refused.err and "--accept-stale" in refused.err
    told = verify("--accept-stale", "--cells", "all")
    assert told.code == 0 and "though its code changed since" in told.out


def test_a_sequel_is_computed_again_from_what_it_went_on_from(bench, linear, linear_data, tmp_path):
    given = ["--store", tmp_path, "--data", linear_data]
    run = bench(
        "run", "--defense", linear, *given, "--examples", 60, "--suite", "fast@1", "--eps", EPS, "--json"
    )
    told = bench("verify", json.loads(run.out)["run_id"], *given, "--code", LINEAR, "--cells", "all")
    assert told.code == 0 and "probe, chunk 0" in told.out, told.out + told.err


def test_code_may_be_named_with_its_class_as_the_defense_is(bench, store, linear, linear_data):
    run = next(store.glob("*/record.json")).parent
    given = ["--store", store, "--data", linear_data, "--code", linear]
    told = bench("verify", run.name, *given, "--cells", 1)
    assert told.code == 0 and f"run {run.name}: " in told.out, told.err


def test_without_evidence_nothing_is_kept(bench, linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--eps", EPS, "--examples", 30, "--store", tmp_path, "--suite", "smoke"]
    record = json.loads(bench("run", "--defense", linear, *given, "--no-evidence", "--json").out)
    assert record["evidence"] is None
    assert not list((tmp_path / record["run_id"]).rglob("*.safetensors"))
    told = bench("verify", record["run_id"], *given[:2], "--store", tmp_path, "--code", LINEAR)
    assert told.code == 0 and "no adversarial images were kept" in told.out


def test_cells_without_images_leave_no_half_evidence(bench, linear, linear_data, tmp_path):
    """A run whose first cells were computed without images is a run without evidence, and says so."""
    words = ["run", "--defense", linear, "--data", linear_data, "--eps", EPS, "--examples", 30]
    words += ["--store", tmp_path, "--suite", "smoke", "--json"]
    record = json.loads(bench(*words, "--no-evidence").out)
    (tmp_path / record["run_id"] / "record.json").unlink()
    again = bench(*words)
    assert json.loads(again.out)["evidence"] is None
    assert "computed without them" in " ".join(again.err.split())


def test_images_that_fool_nobody_block_the_row(bench, linear, linear_data, tmp_path, monkeypatch):
    """A harness that stored the wrong images would be found out by its own record."""
    kept = []

    def keep_clean_ones(folder, column, chunk, ids, broken):
        kept.append(len(ids))
        keep_images(folder, column, chunk, ids, np.full_like(broken, 0.5))

    monkeypatch.setattr("bench.runner.run.keep_images", keep_clean_ones)
    words = ["--data", linear_data, "--eps", EPS, "--examples", 60, "--store", tmp_path, "--suite", "smoke"]
    told = bench("run", "--defense", linear, *words, "--json")
    found = {finding["code"]: finding for finding in json.loads(told.out)["findings"]}
    assert sum(kept) > 10 and found["evidence-disagrees"]["severity"] == "block"
    assert "of 60 examples have another verdict" in found["evidence-disagrees"]["detail"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["zzz"], ["'zzz' leads to no record", "bench list runs"]),
        (["RUN", "--cells", "0"], ["--cells is '0'", "at least 1, or all"]),
        (["RUN", "--cells", "few"], ["--cells is 'few'"]),
        (["RUN"], ["your own data, npz:linear", "--data npz:PATH"]),
        (["RUN", "--data", "digits"], ["--data is 'digits'", "npz:linear"]),
        (["RUN", "--code", "nowhere.py"], ["no file 'nowhere.py'"]),
        (["RUN", "--code", "nowhere.py:Linear"], ["no file 'nowhere.py'"]),
        (["RUN", "--code", "nowhere"], ["--code is 'nowhere'", "--code FILE.py"]),
    ],
)
def test_mistakes_are_one_sentence(bench, store, words, told):
    run = next(store.glob("*/record.json")).parent.name
    for path in store.glob("models/*/origin.json"):
        path.unlink()  # it would say where data and code lie
    refused = bench("verify", *(run if word == "RUN" else word for word in words), "--store", store)
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    for word in told:
        assert word in refused.err


def test_a_store_without_the_cells_or_the_weights_is_one_sentence(bench, store, linear_data):
    run = next(store.glob("*/record.json")).parent
    given = ["--store", store, "--data", linear_data, "--code", LINEAR]
    shutil.rmtree(store / "models")
    refused = bench("verify", run.name, *given)
    assert refused.code == 2 and "the weights" in refused.err and "are not in" in refused.err
    shutil.rmtree(run / "cells")
    refused = bench("verify", run / "record.json", *given)
    assert refused.code == 2 and "holds no cells of run" in refused.err


def test_what_an_older_record_cannot_tell_is_no_difference(make_record, make_trial):
    """Of a column that goes on from others it kept no median; any other figure is missed where it lacks."""
    first = make_trial("ladder", 100, 200, met=160, broke=60)
    due = make_trial("probe", 90, 200, after="ladder", met=100, broke=10, queries_median=7.0)
    now = make_record(columns=(first, due))
    told = dataclasses.replace(due, queries_mean=None, queries_median=None)
    assert not list(columns_differ(make_record(columns=(first, told)), now))
    wrong = dataclasses.replace(due, queries_median=0.0)
    assert list(columns_differ(make_record(columns=(first, wrong)), now)) == [
        "probe.queries_median is 7.0 by its cells, 0.0 in the record"
    ]
    mute = dataclasses.replace(first, queries_median=None)
    assert len(list(columns_differ(make_record(columns=(mute, due)), now))) == 1
