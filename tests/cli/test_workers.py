"""`bench run --workers N`: the record of one worker, whatever happens to the processes on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from bench.runner.engines.local import worker_device
from bench.runner.executors import InThisProcess

ROOT = Path(__file__).parents[2]

ATTACKS = '''
"""Attacks that fail, or wait until a file says that they may go on (nobody, 2026)."""
import os, time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Waits:
    """Tells the process it runs in, and waits."""

    def __call__(self, oracle, x, y, budget, generator):
        (HERE / f"{os.getpid()}.pid").touch()
        while not (HERE / "go").exists():
            time.sleep(0.02)
        return x


@dataclass(frozen=True)
class Kills:
    """Ends the process it runs in, as a system that is short of memory does."""

    def __call__(self, oracle, x, y, budget, generator):
        os.kill(os.getpid(), 9)


@dataclass(frozen=True)
class Fails:
    """Fails on every chunk, with words that say on which."""

    def __call__(self, oracle, x, y, budget, generator):
        raise ArithmeticError(f"it cannot do {float(x.sum()):.3f}")
'''


@pytest.fixture
def attacks(tmp_path):
    """PATH.py of those attacks; where they wait, processes leave their numbers beside it."""
    path = tmp_path / "attacks" / "attacks_of_workers.py"
    path.parent.mkdir()
    path.write_text(ATTACKS)
    return path


@pytest.fixture
def words(linear, linear_data):
    """120 examples in six chunks of 20."""
    return ["--defense", linear, "--data", linear_data, "--examples", "all", "--set", "suite.chunk=20"]


def comparable(store):
    """The only record apart from when, where and how long; and the bytes of its examples."""
    (path,) = store.glob("*/record.json")
    record = json.loads(path.read_text())
    for column in record["columns"]:
        column.pop("seconds")
    record["provenance"] = {name: record["provenance"][name] for name in ("sources", "threads", "device")}
    record["training"].pop("seconds")
    record.pop("digest")
    return record, (path.parent / "examples.csv").read_bytes()


def until(reached, process=None):
    """Wait for a condition and give what it gives."""
    for _ in range(6000):
        found = reached()
        if found:
            return found
        assert process is None or process.poll() is None, f"it was over too soon: {process.stderr.read()}"
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def waiting_in(attacks, n):
    """The numbers of waiting processes, as soon as there are n."""

    def found():
        paths = list(attacks.parent.glob("*.pid"))
        return [int(path.stem) for path in paths] if len(paths) >= n else []

    return found


def alive(pids):
    """Those that still run; what has ended and was not waited for does not."""

    def runs(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    return [pid for pid in pids if runs(pid)]


class Backwards(InThisProcess):
    """The last chain first."""

    def play(self, chains):
        return super().play(reversed(list(chains)))


SUITES = {
    "smoke": [],
    "fast@1": ["--eps", "0.1", "--set", "attack.probe.queries=20", "--set", "attack.siege.queries=40"],
}


@pytest.mark.parametrize("suite", ["smoke", pytest.param("fast@1", marks=pytest.mark.slow)])
def test_two_workers_and_any_order_give_the_examples_of_one(bench, words, suite, tmp_path, monkeypatch):
    words = ["run", *words, "--suite", suite, *SUITES[suite]]
    assert bench(*words, "--store", tmp_path / "one").code == 0
    told = bench(*words, "--workers", "2", "--store", tmp_path / "two")
    assert told.code == 0
    assert comparable(tmp_path / "one") == comparable(tmp_path / "two")
    monkeypatch.setattr("bench.runner.executors.InThisProcess", Backwards)
    assert bench(*words, "--store", tmp_path / "backwards").code == 0
    assert comparable(tmp_path / "one") == comparable(tmp_path / "backwards")
    columns = comparable(tmp_path / "one")[0]["columns"]
    assert len({column["robust"]["count"] for column in columns if column["robust"]}) > 1 or suite == "fast@1"


@pytest.mark.slow
def test_an_attack_that_fails_is_told_as_by_one_worker(bench, words, attacks, tmp_path):
    words = ["run", *words, "--attack", "pgd", "--attack", f"{attacks}:Fails", "--json"]
    one = bench(*words, "--store", tmp_path / "one")
    two = bench(*words, "--workers", "2", "--store", tmp_path / "two")
    assert one.code == two.code == 1
    columns = [json.loads(told.out)["columns"] for told in (one, two)]
    assert columns[0][1]["error"].startswith("ArithmeticError: it cannot do ")
    for column in (*columns[0], *columns[1]):
        column.pop("seconds")
    assert columns[0] == columns[1]


@pytest.mark.slow
def test_a_killed_worker_s_chain_goes_to_another(bench, start, words, attacks, tmp_path):
    words = [*words, "--attack", "pgd", "--attack", f"{attacks}:Waits", "--store", tmp_path / "killed"]
    process = start("run", *words, "--on", "local:2")
    pids = until(waiting_in(attacks, 2), process)
    kept = sorted((tmp_path / "killed").glob("*/cells/pgd/*.npz"))
    assert len(kept) == 6
    before = [path.stat().st_mtime_ns for path in kept]
    os.kill(pids[0], signal.SIGKILL)
    until(waiting_in(attacks, 3), process)
    (attacks.parent / "go").touch()
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in told
    (sentence,) = [line for line in told.splitlines() if "is handed to another" in line]
    assert f"(process {pids[0]} on " in sentence and "was killed by signal 9 at" in sentence
    assert not alive(pids)
    assert [path.stat().st_mtime_ns for path in kept] == before, "no cell is computed again"
    assert bench("run", *words[:-1], tmp_path / "whole").code == 0
    assert comparable(tmp_path / "killed") == comparable(tmp_path / "whole")


@pytest.mark.slow
def test_a_chain_that_kills_its_workers_is_given_up_and_the_others_are_not(bench, words, attacks, tmp_path):
    words = ["20" if word == "all" else word for word in words]
    words = ["run", *words, "--attack", "pgd", "--attack", f"{attacks}:Kills", "--json", "--on", "local:2"]
    told = bench(*words, "--store", tmp_path / "runs")
    assert told.code == 1
    assert told.err.count("is handed to another") == 3 and told.err.count("is given up") == 1
    pgd, kills = json.loads(told.out)["columns"]
    assert pgd["error"] is None
    assert "4 workers were lost at attacks_of_workers_py_kills on chunk 0" in kills["error"]
    assert "was killed by signal 9" in kills["error"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(start, words, attacks, tmp_path, how):
    process = start(
        "run", *words, "--attack", f"{attacks}:Waits", "--workers", "2", "--store", tmp_path / "runs"
    )
    pids = until(waiting_in(attacks, 2), process)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # Ctrl-C goes to all processes of a terminal
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert told.splitlines()[-1].startswith("bench: interrupted; the same command goes on")
        assert "Traceback" not in told
    else:
        process.send_signal(how)
    until(lambda: not alive([*pids, process.pid]))


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_bad_number_of_workers_is_one_sentence(bench, words, value):
    told = bench("run", *words, "--workers", value)
    assert told.code == 2 and told.out == ""
    assert told.err.startswith("bench: invalid value for '--workers'") and told.err.count("\n") == 1


def test_workers_are_dealt_out_over_the_gpus_unless_one_is_named():
    deal = [worker_device(torch.device("cuda"), place, 3) for place in range(4)]
    assert deal == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert worker_device(torch.device("cuda"), 1, 1) == "cuda"
    assert [worker_device(torch.device(name), 1, 3) for name in ("cuda:2", "cpu")] == ["cuda:2", "cpu"]


@pytest.mark.slow
def test_two_workers_on_a_trained_network(bench, tmp_path, monkeypatch):
    """The usual network on digits; half of the cells were computed before, by one worker."""
    import bench.runner.columns as columns

    words = ["run", "--defense", "pgd_at", "--data", "digits", "--set", "recipe.epochs=4", "--set"]
    words += ["suite.chunk=40", "--suite", "smoke"]
    assert bench(*words, "--store", tmp_path / "one").code == 0
    played, play = [], columns.play

    def stop_half_way(*given):
        played.append(given)
        if len(played) == 5:
            raise KeyboardInterrupt
        return play(*given)

    with monkeypatch.context() as patched:
        patched.setattr(columns, "play", stop_half_way)
        assert bench(*words, "--store", tmp_path / "two").code == 130
    assert bench(*words, "--workers", "2", "--store", tmp_path / "two").code == 0
    assert len(list((tmp_path / "two").glob("*/cells/*/*.npz"))) == 9
    assert comparable(tmp_path / "two") == comparable(tmp_path / "one")
