"""`bench run` and what follows it: the table, the record, the board; once computed, answered at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from bench.plan import Request, plan_run
from bench.records.reading import from_json
from bench.records.record import Record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(bench, linear, linear_data, tmp_path):
    """`bench run` of the linear defense in a store of this test; answers in a moment."""

    def call(*words, defense=linear, eps="1/20", store=tmp_path / "runs"):
        given = ["--data", linear_data, "--suite", "smoke", "--examples", "all", "--store", store]
        return bench("run", "--defense", defense, *words, usual=[*given, "--eps", eps])

    return call


def comparable(record: Record | dict[str, Any]) -> dict[str, Any]:
    """All but when and how long."""
    held = json.loads(json.dumps(record if isinstance(record, dict) else record.__dict__, default=vars))
    held.pop("provenance")
    held.pop("digest", None)
    held["training"].pop("seconds")
    for column in held["columns"]:
        column.pop("seconds")
    return held


def test_prints_the_table_and_nothing_else(run, tmp_path):
    told = run()
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0] == "linear_defense.py:Linear under smoke@1"
    record = from_json(next((tmp_path / "runs").glob("*/record.json")).read_text())
    worst = next(line for line in lines if line.startswith("worst case"))
    assert f" {100 * record.worst_case.value:.1f} [" in worst
    assert [line.split()[0] for line in lines if "white-box" in line] == ["noise", "fgsm", "pgd_10"]
    assert "examples/s" not in told.out and "examples/s" in told.err, "progress is not part of the table"


@pytest.mark.parametrize("eps", ["1/50", "1/20", "1/10"])
def test_json_is_the_record_and_its_worst_case_is_the_closed_form(run, robust_count, eps):
    told = run("--json", eps=eps)
    record = from_json(told.out)
    numerator, denominator = eps.split("/")
    assert record.worst_case.count == robust_count(int(numerator) / int(denominator))
    assert record.clean.value == 1 and record.examples == 120
    assert told.code == 0 and record.status == "complete"


def test_a_complete_run_answers_from_its_record(run, monkeypatch):
    import bench.runner.run as runner

    first = run("--json")
    monkeypatch.setattr(runner, "open_subject", None)
    again = run("--json")
    assert again.code == 0 and again.out == first.out
    assert (
        again.err
        == f"run {from_json(first.out).run_id} is complete: this is its record, nothing was computed\n"
    )


def test_stdout_of_a_real_process_is_json_alone(linear, linear_data, tmp_path, environment):
    words = ["--defense", linear, "--data", linear_data, "--suite", "smoke", "--eps", "1/20", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", *words],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    record = from_json(done.stdout)
    assert (tmp_path / "runs" / record.run_id / "record.json").read_text() == done.stdout
    assert "smoke@1: 300 examples" in done.stderr and "Traceback" not in done.stderr


def test_the_board_is_csv_and_markdown(run, linear, tmp_path):
    record = from_json(run("--json").out)
    told = run("--board", tmp_path / "boards", defense=f"{linear}[weights_seed=3]")
    other = from_json(run("--json", defense=f"{linear}[weights_seed=3]").out)
    assert told.code == 0
    (csv,) = (tmp_path / "boards").glob("*.csv")
    (markdown,) = (tmp_path / "boards").glob("*.md")
    assert f"board: {csv}" in told.err and f"board: {markdown}" in told.err
    table = pd.read_csv(csv, comment="#")
    assert len(table) == 2
    best = max((record, other), key=lambda found: found.worst_case.value)
    assert best.defense in str(table.iloc[0].to_dict()), "the more robust comes first"
    text = markdown.read_text().replace("\\", "")
    assert record.defense in text and other.defense in text
    assert f"{100 * best.worst_case.value:.1f}" in text


def test_an_overridden_defense_is_named_with_what_changed(run, linear):
    by_set = from_json(run("--set", "defense.weights_seed=7", "--json").out)
    by_name = from_json(run("--json", defense=f"{linear}[weights_seed=7]").out)
    assert by_set.defense == by_name.defense == "linear_defense.py:Linear[weights_seed=7]"
    assert by_set == by_name, "two spellings of one run"
    assert not by_set.custom
    assert by_set.training.sha256 != from_json(run("--json").out).training.sha256


def test_the_same_value_as_the_default_is_no_override(run):
    assert run("--set", "defense.weights_seed=0", "--json").out == run("--json").out


@pytest.mark.parametrize("setting", ["suite.chunk=50", "attack.pgd_10.steps=3", "numerics.fold=false"])
def test_an_overridden_suite_is_custom(run, setting):
    record = from_json(run("--set", setting, "--json").out)
    assert record.custom
    told = run("--set", setting)
    assert told.out.splitlines()[0].endswith("under smoke@1 (custom)")


def test_an_overridden_attack_does_what_it_was_told(run):
    record = from_json(run("--set", "attack.pgd_10.steps=3", "--json").out)
    assert {column.name: column.attack for column in record.columns}["pgd_10"].startswith("PGD(steps=3,")


def test_only_what_changes_results_changes_the_run(run):
    run_id = from_json(run("--json").out).run_id
    for words in (["--examples", "50"], ["--seed", "1"], ["--norm", "L2", "--eps", "0.3"]):
        other = from_json(run("--json", *words).out)
        assert other.run_id != run_id and not other.custom
    for words in (["--batch-size", "7"], ["--batch-size", "auto"], ["--device", "cpu"], ["--offline"]):
        told = run("--json", *words)
        assert from_json(told.out).run_id == run_id and "is complete" in told.err


def test_examples_are_a_prefix_of_a_fixed_shuffle(run, tmp_path):
    few, many = (from_json(run("--json", "--examples", count).out) for count in ("30", "90"))
    assert (few.examples, many.examples) == (30, 90)
    ids = []
    for record in (few, many):
        table = pd.read_csv(tmp_path / "runs" / record.run_id / "examples.csv")
        ids.append(list(table[table.column == "fgsm"].ids))
    assert ids[1][:30] == ids[0]


def test_a_file_of_ones_own_is_the_same_defense_wherever_one_stands(run, linear, tmp_path, monkeypatch):
    far = from_json(run("--json").out)
    path, _, name = linear.rpartition(":")
    monkeypatch.chdir(tmp_path)
    near = from_json(run("--json", defense=f"{os.path.relpath(path)}:{name}", store=tmp_path / "other").out)
    assert near.run_id == far.run_id and near.defense == "linear_defense.py:Linear"


def test_an_image_judged_beyond_the_budget_blocks_the_row(run, monkeypatch):
    from bench.evaluate.referee import Referee

    measured = Referee.distance
    monkeypatch.setattr(Referee, "distance", lambda *given: measured(*given) * 3)  # a referee that is off
    record = from_json(run("--json").out)
    assert {("outside-budget", "block")} == {(found.code, found.severity) for found in record.findings}


def test_a_failed_column_exits_1_and_is_computed_again(run, bench, tmp_path, monkeypatch):
    from bench.attacks.fgsm import FGSM

    with monkeypatch.context() as patched:
        patched.setattr(FGSM, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("no luck")))
        told = run("--board", tmp_path / "boards")
        assert told.code == 1
        assert "no luck" in told.out, "the table says why"
        record = from_json(run("--json").out)
    assert record.status == "failed" and record.worst_case is None
    assert bench("show", "record", record.run_id, "--store", tmp_path / "runs").code == 2
    mended = run("--json")
    assert mended.code == 0 and from_json(mended.out).run_id == record.run_id


SMALL = ["--defense", "standard", "--data", "synthetic", "--set", "recipe.epochs=2"]


def test_training_leaves_weights_that_runs_use(bench, tmp_path, monkeypatch):
    store = ["--store", tmp_path / "runs"]
    trained = json.loads(bench("train", *SMALL, *store, "--json").out)
    assert trained["epochs"] == 2
    again = bench("train", *SMALL, *store)
    assert again.code == 0 and "is complete" in again.err and "training Standard" not in again.err
    told = bench("run", *SMALL, *store, "--suite", "smoke", "--examples", "20", "--json")
    record = from_json(told.out)
    assert record.training.training_id == trained["training_id"]
    assert record.training.sha256 == trained["sha256"]
    assert record.training.recipe == "short[epochs=2]"
    assert "training Standard" not in told.err, "nothing was trained again"


def test_show_list_and_board_know_the_run(run, bench, tmp_path):
    told = run()
    record = from_json(run("--json").out)
    store = ["--store", tmp_path / "runs"]
    assert bench("show", "record", record.run_id, *store).out == told.out
    listed = bench("list", "runs", *store).out
    assert listed.startswith(record.run_id) and "linear_defense.py:Linear under smoke@1" in listed
    assert ",linear_defense.py:Linear," in bench("board", record.run_id[:6], "--format", "csv", *store).out


CRAMPED = '''
from dataclasses import dataclass
import torch
from torch import nn
from bench.api import Deployed

class Cramped(nn.Module):
    """Fits 40 images, and forgets the rest."""
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, x):
        if len(x) > 40:
            raise torch.OutOfMemoryError("too many images")
        return self.inner(x)

@dataclass(frozen=True)
class Cramp:
    paper = "none"
    reconstruction = None
    @property
    def requires(self):
        return {}
    def build(self, task):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, task.num_classes))
    def fit(self, net, context):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    def deploy(self, net):
        return Deployed(Cramped(net))
'''


def test_batches_are_halved_when_memory_runs_out_with_the_same_result(run, tmp_path):
    (tmp_path / "cramp.py").write_text(CRAMPED)
    defense = f"{tmp_path / 'cramp.py'}:Cramp"
    small = run("--json", "--batch-size", "20", defense=defense, store=tmp_path / "small")
    auto = run("--json", "--batch-size", "auto", defense=defense, store=tmp_path / "auto")
    assert small.code == auto.code == 0, small.err + auto.err
    assert comparable(json.loads(small.out)) == comparable(json.loads(auto.out))


def test_training_that_does_not_fit_says_what_would(bench, tmp_path, monkeypatch):
    import bench.runner.weights as runner

    def too_much(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(runner, "train", too_much)
    told = bench("train", *SMALL, "--store", tmp_path / "runs")
    assert told.code == 2
    assert told.err.startswith("bench: training standard in batches of 32 ran out of memory")
    assert "--set recipe.batch_size=16" in told.err


def test_weights_of_other_code_are_refused_and_once_accepted_never_published(run, bench, tmp_path):
    first = from_json(run("--json").out)
    spec = tmp_path / "runs" / "models" / first.training.training_id / "spec.json"
    held = json.loads(spec.read_text())
    held["sources"]["bench.train.fit"] = "0" * 12
    spec.write_text(json.dumps(held))
    words = ["--examples", "60", "--json"]  # another run of the same weights
    refused = run(*words)
    assert refused.code == 2 and "were trained by other code (bench.train.fit changed since)" in refused.err
    accepted = from_json(run(*words, "--accept-stale").out)
    assert accepted.provenance.sources["bench.train.fit"] == "0" * 12, "the code that made it"
    published = bench(
        "publish", accepted.run_id, "--store", tmp_path / "runs", "--folder", tmp_path / "boards"
    )
    assert published.code == 2 and "stale" in published.err
    fresh = from_json(run(*words, "--rerun").out)
    assert fresh.provenance.sources["bench.train.fit"] == first.provenance.sources["bench.train.fit"]
    assert fresh.training.sha256 == first.training.sha256


def test_pictures_that_changed_are_another_run(tmp_path):
    pets = tmp_path / "pets"
    for part in ("train", "test"):
        for shade, name in enumerate(("cat", "dog")):
            (pets / part / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (4, 4), (100 * shade, 0, number)).save(pets / part / name / f"{number}.bmp")
    request = Request("pgd_at", data=f"folder:{pets}", suite="graybox")
    before = plan_run(request)
    assert plan_run(request).id == before.id
    size = (pets / "test" / "dog" / "1.bmp").stat().st_size
    Image.new("RGB", (4, 4), "white").save(pets / "test" / "dog" / "1.bmp")
    assert (pets / "test" / "dog" / "1.bmp").stat().st_size == size
    after = plan_run(request)
    assert after.id != before.id and after.training.id != before.training.id
    assert not {spec.id for _, spec in before.others} & {spec.id for _, spec in after.others}


def test_files_that_change_while_they_are_read_are_refused(bench, linear, linear_data, monkeypatch, tmp_path):
    import bench.runner.weights as weights

    path = tmp_path / "own.npz"
    path.write_bytes(Path(linear_data.partition(":")[2]).read_bytes())

    def load(*given):
        found = usual(*given)
        with path.open("ab") as file:
            file.write(b"more")
        return found

    usual = weights.load
    monkeypatch.setattr(weights, "load", load)
    words = ["--defense", linear, "--data", f"npz:{path}", "--suite", "smoke", "--store", tmp_path / "runs"]
    told = bench("run", *words)
    assert told.code == 2 and "changed while they were read" in told.err and told.out == ""


def test_weights_of_other_images_under_a_published_name_are_refused(bench, monkeypatch, tmp_path):
    import bench.data.synthetic as synthetic

    usual = synthetic.read

    def negatives(*given):
        found = usual(*given)
        return replace(found, x_train=255 - found.x_train, x_test=255 - found.x_test)

    words = ["run", "--defense", "standard", "--data", "synthetic", "--set", "recipe.epochs=1"]
    words += ["--suite", "smoke", "--json", "--store", tmp_path / "runs"]
    first = from_json(bench(*words, "--examples", "10").out)
    monkeypatch.setattr(synthetic, "read", negatives)
    refused = bench(*words, "--examples", "20")
    assert refused.code == 2 and f"digest {first.data_digest} then" in refused.err
    accepted = bench(*words, "--examples", "20", "--accept-stale")
    assert accepted.code == 2, "other code may be accepted, other images are another experiment"
    anew = from_json(bench(*words, "--examples", "20", "--rerun").out)
    assert anew.data_digest != first.data_digest and anew.training.sha256 != first.training.sha256
