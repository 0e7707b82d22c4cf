"""Several processes in one store: one computes, the others wait and take what is there."""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path

import pytest

from bench.plan import Request, plan_training
from bench.records.store import Store

ROOT = Path(__file__).parents[2]


def test_of_two_identical_runs_one_computes(start, linear, linear_data, tmp_path):
    words = ["run", "--defense", linear, "--data", linear_data, "--suite", "smoke", "--eps", "0.2", "--json"]
    both = [start(*words, "--store", tmp_path) for _ in range(2)]
    told = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert told[0][0] == told[1][0] != "", "one record"
    assert sorted("nothing was computed" in err for _, err in told) == [False, True]
    assert sorted("adversarial images" in err for _, err in told) == [False, True]


def test_who_waits_for_a_training_says_so_and_takes_it(bench, start, linear, linear_data, tmp_path):
    spec = plan_training(Request(linear, linear_data))
    words = ["train", "--defense", linear, "--data", linear_data, "--store", tmp_path]
    with Store(tmp_path).lock("training", spec.id, pytest.fail):
        process = start(*words)
        said = line_with(process.stderr, "is in the hands of")
        assert f"training {spec.id} is in the hands of process {os.getpid()} on " in said
        assert process.poll() is None and not (tmp_path / "models").exists()
    process.communicate(timeout=300)
    assert process.returncode == 0 and (tmp_path / "models" / spec.id / "training.json").is_file()


@pytest.mark.slow
def test_two_runs_with_one_teacher_train_it_once(bench, start, tmp_path):
    given = ["--data", "synthetic", "--suite", "smoke", "--examples", "20", "--device", "cpu"]
    given += ["--set", "recipe.epochs=2"]
    asked = [["run", "--defense", f"agkd_bml[margin={margin}]", *given] for margin in ("0.03", "0.05")]
    both = [start(*words, "--json", "--store", tmp_path / "together") for words in asked]
    told = [process.communicate(timeout=900) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sum("training Standard on" in err for _, err in told) == 1
    for words in asked:
        assert bench(*words, "--store", tmp_path / "alone").code == 0
    alone, together = weights(tmp_path / "alone"), weights(tmp_path / "together")
    assert len(alone) == 3 and alone == together


def line_with(stream, words, seconds=120):
    """The first line of a process that has these words; it says others before, or nothing for ever."""
    found = queue.Queue()
    threading.Thread(
        target=lambda: [found.put(line) for line in stream if words in line], daemon=True
    ).start()
    return found.get(timeout=seconds)


def weights(store):
    """The bytes of all best weights, by training."""
    return {path.parent.name: path.read_bytes() for path in store.glob("models/*/best.safetensors")}
