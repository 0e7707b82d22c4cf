"""`bench plot --kind distance` of runs whose attack looked for the nearest mistakes, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from bench.core.outcomes import NEVER, Outcomes
from bench.report.distances import reach


def _run(bench, linear, linear_data, tmp_path, *words):
    told = bench(
        *(
            "run",
            "--defense",
            linear,
            "--data",
            linear_data,
            "--examples",
            "60",
            "--store",
            tmp_path / "runs",
        ),
        *(*words, "--json"),
    )
    assert told.code == 0, told.err
    return json.loads(told.out)["run_id"]


@pytest.fixture
def run_id(bench, linear, linear_data, tmp_path):
    """A run that looks for the nearest mistakes of the linear defense, at a radius that some survive."""
    return _run(bench, linear, linear_data, tmp_path, "--attack", "fmn", "--eps", "1/20")


def test_the_curve_is_the_count_of_distances_and_ends_at_the_robust_accuracy(bench, run_id, tmp_path):
    code = "import sys; sys.modules['torch'] = None; from bench.cli.main import main; main(sys.argv[1:])"
    words = [
        "plot",
        run_id[:8],
        "--kind",
        "distance",
        "--store",
        tmp_path / "runs",
        "--out",
        tmp_path / "out",
    ]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    curve = pd.read_csv(tmp_path / "out" / f"distance-{run_id}.csv")
    assert (tmp_path / "out" / f"distance-{run_id}.pdf").stat().st_size > 0
    held = tmp_path / "runs" / run_id
    (column,) = json.loads((held / "record.json").read_text())["columns"]
    assert curve["robust"].iloc[-1] == column["robust"]["count"] and 0 < column["robust"]["count"] < 60
    assert curve["distance"].iloc[-1] == pytest.approx(0.05)
    examples = pd.read_csv(held / "examples.csv")
    fell = (examples["clean"] == examples["labels"]) & (examples["attacked"] != examples["labels"])
    for _, row in curve.iterrows():
        near = examples["distance"] <= row["distance"] + 1e-6
        assert row["robust"] == (examples["clean"] == examples["labels"]).sum() - (fell & near).sum()
    mean = np.where(fell, examples["distance"], 0.05)  # all are right when clean
    assert curve["area"].iloc[0] == pytest.approx(mean.mean(), rel=1e-4)
    assert (examples["backwards"] == 100).all(), "it went on after the first success"
    assert not json.loads((held / "record.json").read_text())["columns"][0]["lost"]


def test_a_wider_radius_tells_the_same_and_more(bench, linear, linear_data, run_id, tmp_path):
    wide = _run(bench, linear, linear_data, tmp_path, "--attack", "fmn", "--eps", "1")
    told = bench(
        *("plot", run_id, wide, "--kind", "distance", "--store", tmp_path / "runs", "--out", tmp_path / "o"),
        *("--format", "svg"),
    )
    assert told.code == 0, told.err
    both = pd.read_csv(tmp_path / "o" / "distance.csv")
    near, far = (both[both["run"] == name] for name in (run_id, wide))
    assert far["robust"].iloc[-1] == 0 and far["area"].iloc[0] > near["area"].iloc[0]
    left = far[far["distance"] <= 0.05]["robust"].iloc[-1]
    assert abs(left - near["robust"].iloc[-1]) <= 1
    assert far["median_distance"].notna().all()


def test_the_curve_by_hand() -> None:
    """Four examples: wrong when clean, fallen at 1 and at 3, standing; the radius is 4."""
    nothing = np.zeros(4, dtype=np.int64)
    no = nothing.astype(bool)
    outcomes = Outcomes(
        ids=np.arange(4), labels=nothing, clean=np.array([1, 0, 0, 0]), attacked=np.array([1, 1, 1, 0]),
        distance=np.array([0.0, 1, 3, 2]), forwards=nothing, backwards=nothing, first_success=nothing + NEVER,
        moved=no, lost=no, invalid=no,
    )  # fmt: skip
    curve = reach([outcomes], Fraction(4))
    assert curve.distance.tolist() == [0, 1, 3, 4] and curve.robust.tolist() == [3, 2, 1, 1]
    other = replace(outcomes, attacked=np.array([1, 0, 1, 1]), distance=np.array([0.0, 9, 2, 3]))
    both = reach([outcomes, other], Fraction(4))
    assert both.distance.tolist() == [0, 1, 2, 3, 4] and both.robust.tolist() == [3, 2, 1, 0, 0]
    assert curve.area == pytest.approx((0 + 1 + 3 + 4) / 4) and curve.median == 1 and curve.end == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("zzz --kind distance", ["'zzz' leads to no run"]),
        ("distance zzz --every-column", ["--every-column", "queries"]),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(bench, tmp_path, words, told):
    refused = bench("plot", *words.split(), "--store", tmp_path / "runs", "--out", tmp_path / "out")
    assert refused.code == 2 and refused.out == "" and len(refused.err.splitlines()) == 1, refused.err
    for word in told:
        assert word in refused.err


def test_runs_without_nearest_mistakes_and_of_other_norms_are_refused(
    bench, linear, linear_data, run_id, tmp_path
):
    pgd = _run(bench, linear, linear_data, tmp_path, "--attack", "pgd", "--eps", "1/20")
    sparse = _run(bench, linear, linear_data, tmp_path, "--attack", "fmn", "--norm", "L0", "--eps", "5")
    for names, told in (
        ((pgd,), "--attack fmn --norm Linf --eps 1"),
        ((run_id, sparse), "cannot be compared"),
    ):
        given = ["--kind", "distance", "--store", tmp_path / "runs", "--out", tmp_path / "out"]
        refused = bench("plot", *names, *given)
        assert refused.code == 2 and told in refused.err and len(refused.err.splitlines()) == 1, refused.err
