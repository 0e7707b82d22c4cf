"""`python -m benchmarks.gpu` where there is no card: in small on a pretend device, a line and a file each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card: make gpu measures")


def gpu(out, *words):
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_minutes_are_no_steps(tmp_path):
    done = gpu(tmp_path, "--minutes", "0", "--only", "doctor", "--only", "cpu")
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.endswith("these are no measurements")
    assert last == "the minutes are over and 2 steps are left: the same command goes on"
    assert not [*tmp_path.glob("*.json")]


def test_a_step_that_is_cut_off_leaves_no_file_and_no_process(tmp_path):
    done = gpu(tmp_path, "--minutes", "0.05", "--only", "attack_step")
    assert done.returncode == 0 and "1 steps are left" in done.stdout
    assert not [*tmp_path.glob("*.json")]


@pytest.mark.slow
def test_a_step_is_a_line_and_a_file_and_is_not_done_again(tmp_path):
    first = gpu(tmp_path, "--only", "launches")
    assert first.returncode == 0, first.stdout + first.stderr
    found = json.loads((tmp_path / "launches.json").read_text(encoding="utf-8"))
    assert found["ok"] and found["pretended"] and found["step"] == "launches"
    counted = {row["attack"]: row["operations"] for row in found["rows"]}
    assert [*counted] == ["pgd", "apgd", "square"] and all(10 < count < 40 for count in counted.values())
    assert "1/1 launches: ok" in first.stdout
    assert "done before" in gpu(tmp_path, "--only", "launches").stdout


@pytest.mark.slow
def test_a_step_that_failed_is_told_and_done_again(tmp_path):
    before = '{"ok": false, "pretended": true, "seconds": 1}'
    (tmp_path / "launches.json").write_text(before, encoding="utf-8")
    done = gpu(tmp_path, "--only", "launches")
    assert done.returncode == 0 and "done before" not in done.stdout


@pytest.mark.slow
def test_a_training_is_killed_and_goes_on_and_its_network_is_attacked(tmp_path):
    done = gpu(tmp_path, "--only", "long_training", "--only", "whitebox", "--only", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    training, attack, cpu = (
        json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("long_training", "whitebox", "cpu")
    )
    assert training["training"]["epochs"] == 3
    assert attack["columns"] and attack["card"]["name"] == "Pretend"
    assert cpu["agree"] == 1
