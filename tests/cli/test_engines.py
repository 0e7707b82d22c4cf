"""`--on ENGINE`: wrong words are one sentence; Ray and submitit, where they are installed, give the same."""

from __future__ import annotations

import importlib.util
import json

import pytest

WITH_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
WITH_SUBMITIT = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="submitit is not installed"
)


@pytest.fixture
def words(linear, linear_data):
    """Six chunks of a network that is drawn in a moment."""
    words = ["run", "--defense", linear, "--data", linear_data, "--examples", "all", "--suite", "smoke"]
    return [*words, "--set", "suite.chunk=20", "--json"]


def figures(told):
    """What a record says, but for times."""
    record = json.loads(told.out)
    columns = [
        {name: held for name, held in column.items() if name != "seconds"} for column in record["columns"]
    ]
    return record["run_id"], record["worst_case"], columns, record["training"]["sha256"]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["--on", "lokal:2"], "no engine is named 'lokal'; did you mean 'local'?"),
        (
            ["--on", "local"],
            "the number of workers of --on local is '', expected a whole number from 1 to 4096",
        ),
        (["--on", "local:0"], "the number of workers of --on local is '0', expected a whole number"),
        (["--on", "here:2"], "no engine is named 'here'"),
        (["--on", "local:2", "--workers", "3"], "--on is 'local:2' and --workers is 3, expected one of them"),
    ],
)
def test_a_wrong_engine_is_one_sentence_before_anything_is_computed(bench, words, tmp_path, typed, sentence):
    told = bench(*words, *typed, "--store", tmp_path / "runs")
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert sentence in told.err and not (tmp_path / "runs").exists()


def test_a_training_of_a_worker_has_the_weights_of_one_here(bench, tmp_path):
    words = ["train", "--defense", "standard", "--data", "digits", "--set", "recipe.epochs=1", "--json"]
    here, there = (
        json.loads(bench(*words, "--store", tmp_path / engine[:5], "--on", engine).out)
        for engine in ("here", "local:1")
    )
    assert there["sha256"] == here["sha256"] and there["training_id"] == here["training_id"]
    assert json.loads(bench(*words, "--store", tmp_path / "local", "--on", "local:1").out) == there


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm:jobs=2", "submitit")])
def test_a_missing_extra_says_what_to_type(bench, words, tmp_path, monkeypatch, engine, package):
    import sys

    name = engine.partition(":")[0]
    monkeypatch.delitem(sys.modules, f"bench.runner.engines.on_{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    told = bench(*words, "--on", engine, "--store", tmp_path / "runs")
    assert told.code == 2 and f"--on {name} needs the package {package}" in told.err
    assert f'pip install "robust-bench-harness[{name}]"' in told.err


@pytest.mark.slow
def test_local_gives_the_record_of_here(bench, words, tmp_path):
    here = bench(*words, "--store", tmp_path / "here")
    there = bench(*words, "--on", "local:2", "--store", tmp_path / "there")
    assert here.code == there.code == 0 and figures(here) == figures(there)
    assert "--on local:2: " in there.err and "waiting for the answers" in there.err


@WITH_RAY
@pytest.mark.slow
def test_ray_gives_the_record_of_here(bench, words, tmp_path):
    here = bench(*words, "--store", tmp_path / "here")
    there = bench(*words, "--on", "ray", "--store", tmp_path / "there")
    assert here.code == there.code == 0 and figures(here) == figures(there)


@WITH_SUBMITIT
@pytest.mark.slow
def test_jobs_of_a_queue_give_the_record_of_here_and_leave_nothing(bench, words, tmp_path):
    here = bench(*words, "--store", tmp_path / "here")
    there = bench(*words, "--on", "slurm:cluster=local,jobs=2", "--store", tmp_path / "there")
    assert here.code == there.code == 0 and figures(here) == figures(there)
    assert not (tmp_path / "there" / ".workers").exists()


@WITH_SUBMITIT
@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("gpu", "has 'gpu', expected KEY=VALUE"),
        ("jobs=many", "jobs of --on slurm is 'many'"),
        ("minutes=0", "'0'"),
    ],
)
def test_wrong_words_of_slurm_are_one_sentence(bench, words, tmp_path, typed, sentence):
    told = bench(*words, "--on", f"slurm:cluster=local,{typed}", "--store", tmp_path / "runs")
    assert told.code == 2 and sentence in told.err and "Traceback" not in told.err


@pytest.mark.slow
def test_a_sweep_on_workers_is_the_sweep_here_and_a_failure_is_of_one_training(
    bench, linear, linear_data, tmp_path
):
    broken = tmp_path / "broken.py"
    broken.write_text(BROKEN)
    typed = [
        "sweep",
        "--defense",
        linear,
        "--defense",
        f"{broken}:Broken",
        "--suite",
        "smoke,adaptive",
        "--seed",
        "0",
    ]
    typed += ["--seed", "1", "--data", linear_data, "--eps", "1/20", "--examples", "40", "--json"]
    here = bench(*typed, "--store", tmp_path / "here")
    there = bench(*typed, "--on", "local:2", "--store", tmp_path / "there")
    assert here.code == there.code == 1
    first, second = (json.loads(told.out) for told in (here, there))
    assert first["methods"] == second["methods"] and first["failed"] == second["failed"] == 4
    assert [run["run_id"] for run in first["runs"]] == [run["run_id"] for run in second["runs"]]
    weights = [
        {p.parent.name for p in (tmp_path / one).glob("models/*/training.json")} for one in ("here", "there")
    ]
    assert weights[0] == weights[1] and len(weights[0]) == 2


BROKEN = '''
"""A defense that cannot be trained (nobody, 2026)."""
from dataclasses import dataclass

from bench.api import Deployed
from bench.errors import TrainingFailed
from torch import nn


@dataclass(frozen=True)
class Broken:
    """Its training fails."""

    paper = "none"
    reconstruction = None

    @property
    def requires(self):
        return {}

    def build(self, task):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, task.num_classes))

    def fit(self, net, context):
        raise TrainingFailed("it never can be")

    def deploy(self, net):
        return Deployed(predict=net)
'''
