"""`bench import`: images made by hand against a linear network, whose worst case is a closed form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.records.store import read_examples, read_record

LINEAR, EPS, N = Path(__file__).parents[1] / "reference" / "linear_defense.py", 0.2, 60


@pytest.fixture(scope="module")
def weak(linear, linear_data, tmp_path_factory):
    """A store with one run that only knows noise, so that anybody can do better."""
    from bench.cli.main import main

    store = tmp_path_factory.mktemp("weak")
    words = ["run", "--defense", linear, "--data", linear_data, "--eps", EPS, "--examples", N]
    with pytest.raises(SystemExit) as left:
        main([*map(str, words), "--attack", "noise", "--set", "suite.chunk=40", "--store", str(store)])
    assert left.value.code == 0
    return store


@pytest.fixture
def store(weak, tmp_path):
    shutil.copytree(weak, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def bring(bench, store, linear_data, tmp_path):
    """Import an array for the one run of that store."""
    run = next(store.glob("*/record.json")).parent

    def call(array, *words):
        path = tmp_path / "adv.npy"
        np.save(path, array)
        given = ("--data", linear_data, "--code", LINEAR, "--store", store)
        return bench("import", path, "--defense", run.name, *given, *words)

    call.ids = lambda: next(iter(read_examples(run / "examples.csv").values())).ids
    call.record = lambda: read_record(run / "record.json")
    return call


@pytest.fixture(scope="module")
def optimum(arrays, weak):
    """The whole test set, each image moved as far as it can go towards the other class: the closed form."""
    from safetensors.numpy import load_file

    layer = load_file(next(weak.glob("models/*/best.safetensors")))
    x, y = arrays["x_test"], arrays["y_test"]
    slope = (layer["1.weight"][y] - layer["1.weight"][1 - y]).reshape(x.shape)
    adv = np.clip(x - np.float32(EPS) * np.sign(slope), 0, 1)
    right = (adv.reshape(len(x), -1) @ layer["1.weight"].T + layer["1.bias"]).argmax(1) == y
    return adv, right


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "grey", "flat"])
def test_the_optimum_lowers_the_best_known_number_to_the_closed_form(bring, optimum, layout):
    adv, right = optimum
    shapes = {"nchw": adv, "nhwc": adv.transpose(0, 2, 3, 1), "grey": adv[:, 0], "flat": adv.reshape(120, -1)}
    before = bring.record()
    told = bring(shapes[layout], "--note", "by hand")
    assert told.code == 0, told.err
    after = bring.record()
    ids = bring.ids()
    found = after.imported[0]
    assert found.alone.count == found.best_known.count == right[ids].sum() < before.worst_case.count
    assert found.outside == 0 and found.note == "by hand" and after.worst_case == before.worst_case
    assert "falls from" in told.out and after.best_known == found.best_known


def test_it_can_only_fall(bring, optimum, arrays):
    adv, _ = optimum
    assert bring(adv).code == 0
    lowest = bring.record().best_known
    told = bring(arrays["x_test"])  # the clean images break nobody
    assert "is not lowered" in told.out and bring.record().best_known == lowest
    assert bring.record().imported[1].alone.count == N
    again = bring(adv)
    assert "imported before" in again.out and len(bring.record().imported) == 2


def test_images_beyond_the_budget_are_counted_and_the_clean_ones_judged(bring, optimum, arrays):
    adv, _ = optimum
    far = adv.copy()
    far[:60] = np.clip(arrays["x_test"][:60] + 2 * (adv[:60] - arrays["x_test"][:60]), 0, 1)
    moved = np.abs(far - arrays["x_test"]).reshape(len(far), -1).max(1) > EPS + 1e-6
    told = json.loads(bring(far, "--json").out)
    ids = bring.ids()
    assert told["outside"] == moved[ids].sum() > 5
    assert f"{told['outside']} of them are beyond Linf 0.2" in bring(far + np.float32(1e-8)).out


def test_the_first_images_of_the_test_set_cover_what_they_cover(bring, optimum):
    adv, right = optimum
    told = bring(adv[:50])
    ids = bring.ids()
    assert f"an image of {(ids < 50).sum()} of the {N} examples" in told.out
    assert bring.record().imported[0].alone.count == N - (~right[ids[ids < 50]]).sum()


def test_boards_show_and_rank_by_what_is_known(bench, bring, optimum, store):
    assert "best known" not in bench("board", "--store", store).out
    bring(optimum[0])
    told = bench("board", "--store", store, "--format", "csv").out.splitlines()
    row = dict(zip(told[0].split(","), told[1].split(","), strict=True))
    assert float(row["best_known"]) == bring.record().best_known.value == float(row["lowest"])
    shown = bench("show", "record", bring.record().run_id, "--store", store).out
    assert "best known" in shown and "with adv.npy" in shown


GOOD = np.zeros((120, 1, 4, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (GOOD[:, :, :3], ["shape [120, 1, 3, 4]", "expected [n, 1, 4, 4] or [n, 4, 4, 1], or flat [n, 16]"]),
        (np.zeros((121, 4, 4), dtype=np.float32), ["shape [121, 4, 4]", "n at most 120"]),
        (GOOD[:0], ["shape [0, 1, 4, 4]"]),
        (GOOD + 255, ["pixels from 255 to 255", "images / 255"]),
        (GOOD - 0.5, ["pixels from -0.5", "clip(0, 1)"]),
        (GOOD.astype("uint8"), ["holds uint8", "astype('float32') / 255"]),
        (np.where(np.arange(120)[:, None, None, None] == 7, np.nan, GOOD), ["no numbers", "image 7"]),
        (np.array([{}], dtype=object), ["Python objects"]),
        (np.float32(0), ["shape []"]),
    ],
)
def test_bad_files_are_one_sentence_and_change_nothing(bring, array, told):
    before = bring.record()
    refused = bring(array)
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    for word in told:
        assert word in refused.err
    assert bring.record() == before


def test_other_mistakes_are_one_sentence(bench, store, tmp_path, linear_data):
    np.save(tmp_path / "adv.npy", GOOD)
    (tmp_path / "bad.npy").write_text("no array")
    run = next(store.glob("*/record.json")).parent.name
    given = ["--store", store, "--data", linear_data, "--code", LINEAR]
    for words, told in [
        ([tmp_path / "none.npy", "--defense", run], "none.npy cannot be read (No such file or directory)"),
        ([tmp_path / "bad.npy", "--defense", run], "bad.npy is no array"),
        ([tmp_path, "--defense", run], "is a folder"),
        ([tmp_path / "adv.npy", "--defense", "nobody"], "'nobody' leads to no record"),
        ([tmp_path / "adv.npy"], "--defense"),
    ]:
        refused = bench("import", *words, *given)
        assert refused.code == 2 and told in refused.err and len(refused.err.splitlines()) == 1, refused.err


def test_without_a_suite_the_only_one_is_meant(bench, linear, linear_data, arrays, tmp_path):
    """A defense that only `smoke` attacked needs no --suite; with `fast` beside it, that is the usual one."""
    given = ("--data", linear_data, "--store", tmp_path)
    run = ("run", "--defense", linear, *given, "--eps", EPS, "--examples", N)
    assert bench(*run, "--suite", "smoke").code == 0
    np.save(tmp_path / "adv.npy", arrays["x_test"])
    words = (
        "import",
        tmp_path / "adv.npy",
        "--defense",
        "linear_defense.py:Linear",
        *given,
        "--code",
        LINEAR,
    )
    (ours,) = tmp_path.glob("*/record.json")
    told = bench(*words, "--json")
    assert told.code == 0 and json.loads(told.out)["run"] == ours.parent.name, told.err
    assert bench(*run, "--suite", "fast").code == 0
    told = bench(*words, "--json")
    assert told.code == 0 and json.loads(told.out)["run"] != ours.parent.name, told.err
