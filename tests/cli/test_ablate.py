"""`bench ablate`: ordinary runs in one table, whose every figure follows from their records."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.records.reading import from_json

ROOT = Path(__file__).parents[2]
WEIGHTS = {"weights": {"seed 1": {"weights_seed": "1"}, "seed 16": {"weights_seed": "16"}}}

FRAGILE = '''
"""A classifier whose training can be broken by a switch."""
from dataclasses import dataclass
from torch import nn
import torch.nn.functional as F
from bench.api import Deployed
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.train.loop import fit_classifier

@dataclass(frozen=True)
class Fragile:
    paper = "none"
    reconstruction = "all of it"
    scale: float = 1.0
    width: int = 3
    @property
    def requires(self):
        return {}
    def build(self, task):
        return network(task)
    def fit(self, net, context):
        if self.width > 5:
            raise BadValue("width is too much for this network")
        def step(model, batch):
            return {"clean": self.scale * F.cross_entropy(model(batch.x), batch.y)}
        fit_classifier(net, context, step)
    def deploy(self, net):
        return Deployed(net)
'''
BREAKS = {
    "switches": {
        "infinite loss": {"scale": "1e39"},
        "too wide": {"width": "9"},
        "half": {"scale": "0.5"},
    }
}


@pytest.fixture
def stated(monkeypatch):
    """State ablations for a defense of a test."""
    import defenses.ablations

    return lambda name, rows: monkeypatch.setattr(defenses.ablations, "ABLATIONS", {str(name): rows})


@pytest.fixture
def ablate(bench, linear, linear_data, tmp_path, stated):
    """`bench ablate` of the linear defense: two other seeds of its weights, in a moment."""
    stated(linear, WEIGHTS)
    given = ["--data", linear_data, "--suite", "smoke", "--examples", "all", "--eps", "1/20"]

    def call(*words, defense=linear):
        return bench("ablate", defense, *given, "--store", tmp_path / "runs", *words)

    return call


@pytest.fixture
def fragile(bench, tmp_path, stated):
    """`bench ablate` of a defense that two of its switches break."""
    (tmp_path / "fragile.py").write_text(FRAGILE)
    name = f"{tmp_path / 'fragile.py'}:Fragile"
    stated(name, BREAKS)
    given = ["--data", "synthetic", "--suite", "smoke", "--examples", "30", "--set", "recipe.epochs=2"]
    return lambda *words: bench("ablate", name, *given, "--store", tmp_path / "runs", *words)


def robust(store: Path, run_id: str) -> pd.Series:
    """Which test images a run's defense holds against every column; from what lies in the store."""
    table = pd.read_csv(store / run_id / "examples.csv")
    held = (table.clean == table.labels) & (table.attacked == table.labels)
    return held.groupby(table.ids).all()


def test_every_figure_follows_from_the_records(ablate, tmp_path):
    told = ablate("--csv", tmp_path / "table.csv", "--markdown", tmp_path / "table.md")
    assert told.code == 0
    frame = pd.read_csv(tmp_path / "table.csv", dtype={"run": str})
    assert list(frame.variant) == ["full method", "seed 1", "seed 16"]
    assert list(frame.changed)[1:] == ["weights_seed=1", "weights_seed=16"]
    assert list(frame.part)[1:] == ["weights", "weights"]
    store = tmp_path / "runs"
    full = robust(store, frame.run[0])
    for row in frame.itertuples():
        record = from_json((store / row.run / "record.json").read_text())
        assert row.defense == record.defense
        assert (row.clean, row.clean_low, row.clean_high) == (
            record.clean.value,
            record.clean.low,
            record.clean.high,
        )
        assert (row.worst_case, row.worst_case_low) == (record.worst_case.value, record.worst_case.low)
        assert [getattr(row, column.name) for column in record.columns] == [
            column.robust.value for column in record.columns
        ]
        assert row.training_seconds == record.training.seconds
        held = robust(store, row.run)
        assert row.worst_case == pytest.approx(held.mean(), abs=1e-6)
        if row.variant == "full method":
            assert math.isnan(row.difference)
            continue
        assert (row.won, row.lost) == ((held & ~full).sum(), (full & ~held).sum())
        assert row.difference == pytest.approx((row.won - row.lost) / 120)
        assert row.difference_low < row.difference < row.difference_high
        shown = f"{100 * row.difference:+.1f} [{100 * row.difference_low:+.1f}, "
        line = next(
            line for line in told.out.splitlines() if line.startswith("weights") and row.variant in line
        )
        assert shown in line and f"{100 * record.worst_case.value:.1f} [" in line
        assert shown in (tmp_path / "table.md").read_text()
    assert frame.lost[1:].min() > 0, "other weights lose examples, or nothing was compared"
    assert "examples/s" in told.err and "examples/s" not in told.out
    assert "2 of 3: seed 1 (weights_seed=1)" in told.err


def test_json_says_the_same_as_the_table(ablate, tmp_path):
    told = ablate("--csv", tmp_path / "table.csv", "--json")
    frame = pd.read_csv(tmp_path / "table.csv", dtype={"run": str})
    found = json.loads(told.out)
    assert (found["defense"], found["suite"]) == ("linear_defense.py:Linear", "smoke@1")
    assert [row["fields"] for row in found["rows"]] == [{}, {"weights_seed": "1"}, {"weights_seed": "16"}]
    assert [row["run_id"] for row in found["rows"]] == list(frame.run)
    assert [row["worst_case"]["value"] for row in found["rows"]] == list(frame.worst_case)
    assert found["rows"][0]["difference"] is None
    assert [row["difference"]["value"] for row in found["rows"][1:]] == list(frame.difference)[1:]
    assert [row["difference"]["low"] for row in found["rows"][1:]] == list(frame.difference_low)[1:]


def test_a_row_is_an_ordinary_run(ablate, bench, linear, linear_data, tmp_path):
    rows = json.loads(ablate("--json").out)["rows"]
    words = ["--data", linear_data, "--suite", "smoke", "--examples", "all", "--eps", "1/20"]
    for text, row in zip((linear, f"{linear}[weights_seed=1]"), rows, strict=False):
        told = bench("run", "--defense", text, *words, "--store", tmp_path / "runs", "--json")
        assert "nothing was computed" in told.err
        assert json.loads(told.out)["run_id"] == row["run_id"]


def test_what_is_complete_is_not_computed_again(ablate, monkeypatch):
    import bench.runner.run as runner

    first = ablate()
    monkeypatch.setattr(runner, "open_subject", None)
    again = ablate()
    assert again.code == 0 and again.out == first.out
    assert again.err.count("nothing was computed") == 3


def test_after_a_stop_the_same_command_goes_on(ablate, monkeypatch):
    import bench.runner.columns as runner

    played, play = [], runner.play

    def stop_in_the_third_run(*given):
        played.append(given)
        if len(played) == 8:
            raise KeyboardInterrupt
        return play(*given)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "play", stop_in_the_third_run)
        stopped = ablate()
    assert stopped.code == 130 and stopped.out == "" and "the same command goes on" in stopped.err
    with monkeypatch.context() as patched:
        patched.setattr(runner, "play", lambda *given: played.append(given) or play(*given))
        resumed = ablate("--json")
    assert resumed.code == 0 and resumed.err.count("nothing was computed") == 2
    assert len(played) == 8 + 2, "of three runs of three cells, all but the last two were kept"
    assert len(json.loads(resumed.out)["rows"]) == 3


def test_rows_are_chosen_by_label_or_part(ablate):
    rows = json.loads(ablate("--only", "seed 16", "--json").out)["rows"]
    assert [row["variant"] for row in rows] == ["full method", "seed 16"]
    rows = json.loads(ablate("--only", "weights", "--json").out)["rows"]
    assert [row["variant"] for row in rows] == ["full method", "seed 1", "seed 16"]


@pytest.mark.parametrize("way", ["--set", "name"])
def test_another_full_method_leaves_out_the_rows_that_it_is(ablate, linear, way):
    words = ["--set", "defense.weights_seed=1"] if way == "--set" else []
    told = ablate(*words, "--json", defense=linear if words else f"{linear}[weights_seed=1]")
    assert "seed 1 (weights_seed=1) is left out" in told.err
    found = json.loads(told.out)
    assert found["defense"] == "linear_defense.py:Linear[weights_seed=1]"
    assert [row["variant"] for row in found["rows"]] == ["full method", "seed 16"]


def test_a_row_that_cannot_be_trained_is_told_and_the_others_go_on(fragile, tmp_path):
    told = fragile("--csv", tmp_path / "table.csv")
    assert told.code == 1
    lines = {line.split("  ")[1].strip(): line for line in told.out.splitlines() if line[:8] == "switches"}
    assert "failed: the loss term 'clean' is not finite" in " ".join(told.out.split())
    assert lines["half"].count("[") == 3
    frame = pd.read_csv(tmp_path / "table.csv")
    assert list(frame.run.isna()) == [False, True, True, False]
    assert list(frame.difference.isna()) == [True, True, True, False]
    assert frame.note[2] == "failed: width is too much for this network"
    assert "a reconstruction: all of it" in told.out
    again = fragile()
    assert again.code == 1 and again.err.count("nothing was computed") == 2, "what failed is tried again"


def test_a_full_method_that_cannot_be_trained_leaves_its_rows_without_a_comparison(fragile):
    told = fragile("--set", "defense.scale=1e39", "--only", "half", "--json")
    rows = json.loads(told.out)["rows"]
    assert told.code == 1
    assert rows[0]["status"] == "failed" and "not finite" in rows[0]["failed"]
    assert rows[1]["status"] == "complete" and rows[1]["difference"] is None


def test_a_mistake_that_every_row_shares_is_a_mistake(fragile, tmp_path):
    told = fragile("--set", "defense.width=9")
    assert told.code == 2 and told.out == ""
    assert told.err.splitlines()[-1] == "bench: width is too much for this network"


def test_a_failed_column_is_told_and_compares_nothing(ablate, monkeypatch):
    from bench.attacks.fgsm import FGSM

    monkeypatch.setattr(FGSM, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("no luck")))
    told = ablate("--json")
    rows = json.loads(told.out)["rows"]
    assert told.code == 1
    assert all("fgsm failed" in row["note"] and "no luck" in row["note"] for row in rows)
    assert all(row["worst_case"] is None and row["difference"] is None for row in rows)


def test_examples_that_cannot_be_read_are_one_sentence(ablate, tmp_path):
    rows = json.loads(ablate("--json").out)["rows"]
    path = tmp_path / "runs" / rows[1]["run_id"] / "examples.csv"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    damages = [
        b"",
        lines[0],
        b"\xff\xfe",
        lines[0] + b"fgsm,x\n",
        whole[: len(whole) // 2],
        lines[0] + lines[1],
    ]
    path.unlink()
    for content in (None, *damages):
        if content is not None:
            path.write_bytes(content)
        told = ablate()
        assert told.code == 2 and told.out == "", content
        last = told.err.splitlines()[-1]
        assert last.startswith("bench: ") and str(path) in last and "--rerun" in last
    assert ablate("--rerun").code == 0 and path.read_bytes() == whole


def test_a_method_with_a_teacher_trains_it_once(bench, tmp_path):
    words = ["--data", "synthetic", "--suite", "smoke", "--examples", "20", "--set", "recipe.epochs=1"]
    told = bench(
        *("ablate", "agkd_bml", *words, "--set", "defense.steps=1"),
        *("--only", "no AGKD", "--only", "no BML", "--store", tmp_path / "runs", "--json"),
    )
    assert told.code == 0, told.err
    assert told.err.count("training Standard on synthetic: 256 images in") == 1
    assert told.err.count("training AgkdBml on synthetic: 256 images in") == 3
    trained = {row["training_id"] for row in json.loads(told.out)["rows"]}
    assert len(trained) == 3


def test_rows_are_listed_without_running(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = bench("ablate", "agkd_bml", "--list")
    assert told.code == 0 and told.err == ""
    assert "  no AGKD " in told.out and "agkd=false" in told.out
    rows = json.loads(bench("ablate", "agkd_bml", "--list", "--json", "--only", "no AGKD").out)
    assert rows == [{"part": "terms", "variant": "no AGKD", "fields": {"agkd": "false"}}]
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_rows_loads_no_torch(environment):
    words = ["bench", "ablate", "agkd_bml", "--list"]
    start = f"import sys; from bench.cli.main import main; sys.argv = {words}"
    code = f"{start}\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert "bench.cli.ablate" in loaded and not {"torch", "pandas", "scipy"} & set(loaded)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("agkd_bmi", ["'agkd_bmi'", "did you mean 'agkd_bml'?"]),
        ("standard", ["no defense with stated ablations is named 'standard'", "agkd_bml"]),
        ("agkd_bml --only no_AGKD", ["'no_AGKD'", "did you mean 'no AGKD'?"]),
        ("agkd_bml --only xyzzy", ["'xyzzy'", "--list"]),
        ("agkd_bml --set defense.stepz=3", ["'stepz'", "did you mean 'steps'?"]),
        ("agkd_bml --set defense.margin=-1", ["margin is -1"]),
        ("agkd_bml[stepz=3]", ["'stepz'"]),
        ("agkd_bml --suite whitebx", ["'whitebx'", "did you mean 'whitebox'?"]),
        ("agkd_bml --data digts", ["'digts'"]),
        ("agkd_bml --markdown /dev/null/table.md", ["folder of the table", "'/dev/null'"]),
        ("agkd_bml --csv .", ["--csv", "is a directory"]),
        ("agkd_bml --rerun --accept-stale", ["--rerun", "--accept-stale"]),
        ("", ["NAME", "bench ablate --help"]),
    ],
)
def test_mistakes_are_one_sentence(bench, tmp_path, monkeypatch, words, told):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = bench("ablate", *words.split())
    assert found.code == 2 and found.out == "", found
    assert found.err.startswith("bench: ") and found.err.count("\n") == 1
    for word in told:
        assert word in found.err
    assert list((tmp_path / "here").iterdir()) == []


def test_the_csv_of_an_ablation_is_one_header_and_plain_numbers(ablate, tmp_path):
    ablate("--csv", tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text()
    assert text.splitlines()[0].startswith(
        "run,defense,part,variant,changed,clean,clean_low,clean_high,noise,"
    )
    assert not any("%" in line for line in text.splitlines()[1:])
    assert pd.read_csv(io.StringIO(text)).worst_case.between(0, 1).all()
