"""`bench plot --kind queries` of runs that were made a moment ago, without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest


@pytest.fixture
def run_id(bench, linear, linear_data, tmp_path):
    """A run of the linear defense under a square attack of at most 40 queries."""
    given = ["--data", linear_data, "--examples", "60", "--eps", "1/20", "--store", tmp_path / "runs"]
    given += ["--suite", "blackbox", "--surrogate", f"{linear}[weights_seed=1]"]
    few = [f"--set=attack.{name}.steps=2" for name in ("transfer_pgd", "transfer_mi_fgsm")]
    told = bench("run", "--defense", linear, *given, *few, "--set", "attack.square.queries=40", "--json")
    assert told.code == 0, told.err
    return json.loads(told.out)["run_id"]


def test_the_curve_ends_at_the_robust_accuracy_of_the_record(bench, run_id, tmp_path):
    code = "import sys; sys.modules['torch'] = None; from bench.cli.main import main; main(sys.argv[1:])"
    words = ["plot", run_id[:8], "--kind", "queries", "--store", tmp_path / "runs", "--out", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    numbers = tmp_path / "out" / f"queries-{run_id}.csv"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"queries-{run_id}.caption.txt",
        numbers.name,
        numbers.with_suffix(".pdf").name,
    ]
    curve, held = pd.read_csv(numbers), tmp_path / "runs" / run_id
    assert set(curve["column"]) == {"square"}, "transfer asks the victim nothing"
    columns = {column["name"]: column for column in json.loads((held / "record.json").read_text())["columns"]}
    assert curve["robust"].iloc[-1] == columns["square"]["robust"]["count"] < 60 == curve["robust"].iloc[0]
    assert curve["queries"].max() == 40, "some examples held out to the limit"

    examples = pd.read_csv(held / "examples.csv")
    square = examples[examples["column"] == "square"]
    for _, row in curve.iterrows():
        fallen = ((square["first_success"] >= 0) & (square["first_success"] <= row["queries"])).sum()
        assert row["robust"] == 60 - fallen
    told = bench("plot", *[tmp_path / "runs" / run_id, "--kind", "queries", "--every-column", *words[4:]])
    assert told.code == 0 and set(pd.read_csv(numbers)["column"]) == set(columns)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("queries zzz", ["'zzz' leads to no run", "bench list runs"]),
        ("zzz --kind queries", ["'zzz' leads to no run"]),
        ("zzz --every-column", ["--every-column", "queries"]),
        ("zzz --kind query", ["no kind of figure is named 'query'", "did you mean 'queries'?"]),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(bench, tmp_path, words, told):
    refused = bench("plot", *words.split(), "--store", tmp_path / "runs", "--out", tmp_path / "out")
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    for word in told:
        assert word in refused.err
    assert not (tmp_path / "out").exists()
