"""A run killed at any moment and started again gives the record that it would have given uninterrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

KILLED_AT_EVERY_WRITE = '''
"""Fork a run for every fourth of its writes, kill it just before the file gets its name, and run it again."""
import os, pathlib, signal, sys
import bench.runner.run, bench.publish, defenses.pgd_at  # what every fork would import
from bench.cli.main import main

EACH = 4  # tests/torture takes all operations of all commands
place, words = pathlib.Path(sys.argv[1]), sys.argv[2:]
rename = pathlib.Path.replace

def forked(store, kill_at):
    child = os.fork()
    if child == 0:
        done = 0
        def replace(self, target):
            nonlocal done
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return rename(self, target)
        pathlib.Path.replace = replace
        (place / store).mkdir(exist_ok=True)
        os.chdir(place / store)
        sys.stdout = sys.stderr = open(f"told-{kill_at}", "w")
        main([*words, "--board", "boards"])
    return os.waitpid(child, 0)[1]

assert forked("whole", None) == 0
moment = 0
while True:
    status = forked(f"killed-{moment}", moment)
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    assert forked(f"killed-{moment}", None) == 0, moment
    moment += EACH
print(moment)
'''

TRAINING = ["--defense", "pgd_at", "--data", "synthetic", "--set", "defense.steps=3", "--device", "cpu"]


def kill_when(process, reached):
    """SIGKILL as soon as the condition holds."""
    for _ in range(60_000):
        if reached():
            process.send_signal(signal.SIGKILL)
            process.wait()
            break
        assert process.poll() is None, f"it was over too soon: {process.stderr.read()}"
        time.sleep(0.002)
    assert process.returncode == -signal.SIGKILL


def comparable(path):
    """A record apart from when, where and how long."""
    record = json.loads(path.read_text())
    record["provenance"] = record["provenance"]["sources"]
    record["training"].pop("seconds")
    record.pop("digest")
    for column in record["columns"]:
        column.pop("seconds")
    return record


def results(store):
    """All that a store holds of results: records, examples, weights; by path."""
    records = {path.relative_to(store): comparable(path) for path in store.glob("*/record.json")}
    exact = [*store.glob("*/examples.csv"), *store.glob("models/*/*.safetensors")]
    return {**records, **{path.relative_to(store): path.read_bytes() for path in exact}}


def test_killed_in_training(bench, start, tmp_path):
    words = [*TRAINING, "--set", "recipe.epochs=8"]
    process = start("train", *words, "--store", tmp_path / "killed")
    kill_when(process, lambda: list((tmp_path / "killed").glob("models/*/state.ckpt")))
    (folder,) = (tmp_path / "killed" / "models").iterdir()
    assert not (folder / "training.json").exists()

    run = ["run", *words, "--suite", "smoke", "--examples", "30"]
    resumed = bench(*run, "--store", tmp_path / "killed")
    whole = bench(*run, "--store", tmp_path / "whole")
    assert resumed.code == whole.code == 0
    assert "of them done before" in resumed.err and "of them done before" not in whole.err
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert len(results(tmp_path / "whole")) == 4, "a record, its examples, the best and the last weights"
    log = [line.split(",")[:3] for line in (folder / "log.csv").read_text().splitlines()]
    assert [line[1] for line in log[1:]] == [str(epoch) for epoch in range(1, 9)], "no epoch twice"


def test_killed_in_a_cell(bench, start, linear, linear_data, tmp_path, monkeypatch):
    words = ["run", "--defense", linear, "--data", linear_data, "--suite", "smoke", "--set", "suite.chunk=2"]
    process = start(*words, "--store", tmp_path / "killed")
    kill_when(process, lambda: len(list((tmp_path / "killed").glob("*/cells/*/*.npz"))) >= 3)
    held = len(list((tmp_path / "killed").glob("*/cells/*/*.npz")))
    assert not list((tmp_path / "killed").glob("*/record.json"))

    import bench.runner.columns as runner

    played, play = [], runner.play
    monkeypatch.setattr(runner, "play", lambda *given: played.append(given[1].column) or play(*given))
    assert bench(*words, "--store", tmp_path / "killed").code == 0
    assert len(played) == 3 * 50 - held, "3 columns of 50 chunks, and what was kept is not computed again"
    assert bench(*words, "--store", tmp_path / "whole").code == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_killed_at_every_write(environment, tmp_path):
    """Training, cells, examples, record and boards: each file is either whole or not there."""
    words = [*TRAINING, "--set", "recipe.epochs=2", "--set", "suite.chunk=20"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED_AT_EVERY_WRITE,
            tmp_path,
            "run",
            *words,
            "--suite",
            "smoke",
            "--examples",
            "40",
        ],
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    moments = int(done.stdout)
    whole = tmp_path / "whole"
    training = 1 + 2 * 2 + 4 + 1  # what trains, state and log of each epoch, weights and end, result
    run = 1 + 3 * 2 + 2  # what runs, cells, examples and record
    assert moments >= training + run + 2, "and two boards"
    expected = results(whole / "runs")
    boards = sorted(path.name for path in (whole / "boards").iterdir())
    for moment in range(0, moments, 4):
        place = tmp_path / f"killed-{moment}"
        assert results(place / "runs") == expected, f"killed at write {moment}"
        assert sorted(path.name for path in (place / "boards").iterdir() if path.name[0] != ".") == boards


class Killed(BaseException):
    """The process ends here: nothing of ours handles it."""


def killed_before(monkeypatch, moment):
    """Let the run end before its n-th rename or removal; gives the list of those that were made."""
    made = []

    def counted(call):
        def instead(*given, **named):
            if len(made) == moment:
                raise Killed
            made.append(Path(given[-1]).name)
            return call(*given, **named)

        return instead

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    return made


def test_no_kill_loses_evidence(bench, linear, linear_data, tmp_path):
    """Images that broke something are in the record, wherever the run was killed; and no leftovers."""
    given = ["--data", linear_data, "--suite", "smoke", "--eps", "1/5", "--examples", "60"]
    words = ["run", "--defense", linear, *given, "--set", "suite.chunk=30"]
    with pytest.MonkeyPatch.context() as patch:
        operations = killed_before(patch, None)
        assert bench(*words, "--store", tmp_path / "whole").code == 0
    expected = results(tmp_path / "whole")
    (record,) = [held for path, held in expected.items() if path.name == "record.json"]
    assert record["evidence"]["images"] > 5
    last = operations.index("adversarial.safetensors")
    assert operations[last:][:3] == ["adversarial.safetensors", "examples.csv", "record.json"]
    for moment in [3, last - 1, *range(last, len(operations))]:
        store = tmp_path / f"killed-{moment}"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            killed_before(patch, moment)
            bench(*words, "--store", store)
        assert bench(*words, "--store", store).code == 0
        assert results(store) == expected, f"killed before {operations[moment]}"
        assert files(store) == files(tmp_path / "whole"), f"killed before {operations[moment]}"


def test_no_kill_of_a_rerun_loses_evidence(bench, linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--suite", "smoke", "--eps", "1/5", "--examples", "60"]
    words = ["run", "--defense", linear, *given, "--set", "suite.chunk=30", "--store", tmp_path]
    assert bench(*words).code == 0
    expected, whole = results(tmp_path), files(tmp_path)
    for moment in (1, 4, 7, 8, 9):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            killed_before(patch, moment)
            bench(*words, "--rerun")
        assert bench(*words).code == 0
        assert (results(tmp_path), files(tmp_path)) == (expected, whole), moment


def files(store):
    """What lies in a store, apart from the answers to requests, and from who holds or held its locks."""
    found = {path.relative_to(store) for path in store.rglob("*") if path.is_file()}
    return {path for path in found if path.parts[0] not in ("asked", ".locks")}


def test_a_record_that_was_removed_is_made_again_with_its_evidence(bench, linear, linear_data, tmp_path):
    given = ["--data", linear_data, "--suite", "smoke", "--eps", "1/5", "--examples", "60"]
    words = ["run", "--defense", linear, *given, "--store", tmp_path]
    assert bench(*words).code == 0
    (path,) = tmp_path.glob("*/record.json")
    before = comparable(path)
    path.unlink()
    told = bench(*words)
    assert told.code == 0 and "not kept" not in told.err
    assert comparable(path) == before and before["evidence"]["images"] > 5

    images = path.parent / "adversarial.safetensors"
    content = bytearray(images.read_bytes())
    content[-100] ^= 1
    images.write_bytes(content)
    path.unlink()
    told = bench(*words)
    assert "not kept" in told.err and comparable(path)["evidence"] is None, "a changed image is no evidence"


def test_a_signal_ends_with_a_sentence(bench, start, linear, linear_data, tmp_path):
    words = ["run", "--defense", linear, "--data", linear_data, "--suite", "smoke", "--set", "suite.chunk=2"]
    process = start(*words, "--store", tmp_path)
    for _ in range(60_000):
        if list(tmp_path.glob("*/cells/*/*.npz")):
            break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    told = process.stderr.read()
    assert "bench: stopped by SIGTERM; the same command goes on from where it stopped" in told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("**/.*.????????")) and not list(tmp_path.glob(".locks/*.json"))


def children_of(pid):
    """The processes that one has begun, and those that they have."""
    held = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(word) for word in held.read_text().split()] if held.exists() else []
    return [*own, *(other for child in own for other in children_of(child))]


@pytest.mark.slow
def test_devices_end_with_the_process_that_asked_for_them(start, tmp_path):
    words = ["train", *TRAINING, "--devices", "2", "--set", "recipe.epochs=500", "--store", tmp_path]
    process = start(*words)
    for _ in range(60_000):
        if list(tmp_path.glob("models/*/state.ckpt")):
            break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    ranks = children_of(process.pid)
    assert len(ranks) >= 2
    process.terminate()
    assert process.wait(120) == 128 + signal.SIGTERM
    (folder,) = (tmp_path / "models").iterdir()
    for _ in range(6_000):
        if not any(Path("/proc", str(pid)).exists() for pid in ranks):
            break
        time.sleep(0.01)
    assert not [pid for pid in ranks if Path("/proc", str(pid)).exists()], "nobody trains on"
    assert not (folder / "training.json").exists()
