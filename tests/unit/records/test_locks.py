"""One holds a lock, the others wait and say for whom; who is killed holds nothing."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.records import locks
from bench.records.locks import FOLDER, locked

HOLDING = """
import sys, time
from pathlib import Path
from bench.records.locks import locked
with locked(Path(sys.argv[1]), "run-1", "run 1", print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def wait(root, told):
    """A thread that takes the lock as soon as it can."""
    taken = threading.Event()

    def take():
        with locked(root, "run-1", "run 1", told.append):
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken


def until(condition):
    for _ in range(600):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_who_waits_says_for_whom(holder, tmp_path):
    told = []
    taken = wait(tmp_path, told)
    assert until(lambda: told) and not taken.is_set()
    assert f"run 1 is in the hands of process {holder.pid} on {socket.gethostname()} since 2" in told[0]
    holder.stdin.close()
    assert taken.wait(30) and len(told) == 1


def test_who_is_killed_holds_nothing(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    before = time.time()
    with locked(tmp_path, "run-1", "run 1", pytest.fail) as since:
        assert since >= before
    assert not (tmp_path / FOLDER).exists(), "what it left is gone, too"


def test_a_lock_leaves_no_folder_that_was_made_for_it(tmp_path):
    root = tmp_path / "deep" / "store"
    with locked(root, "run-1", "run 1", pytest.fail):
        assert (root / FOLDER).is_dir()
    assert not (tmp_path / "deep").exists() and tmp_path.exists()
    with locked(root, "run-1", "run 1", pytest.fail):
        (root / "kept").touch()
    assert [path.name for path in root.iterdir()] == ["kept"]


def test_many_at_once_hold_it_one_after_the_other(tmp_path):
    """Files of locks come and go meanwhile, and their folder with them."""
    inside, most = [], []

    def hold():
        for _ in range(20):
            with locked(tmp_path / "store", "run-1", "run 1", lambda _: None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 120 and not (tmp_path / "store" / FOLDER).exists()


def test_other_locks_are_free(holder, tmp_path):
    with locked(tmp_path, "run-2", "run 2", pytest.fail):
        pass


@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_where_the_file_system_knows_no_locks_a_file_stands_for_it(tmp_path, monkeypatch, answer):
    def refuse(*_):
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = []
    with locked(tmp_path, "run-1", "run 1", told.append):
        taken = wait(tmp_path, told)
        assert until(lambda: told) and not taken.is_set()
        assert f"process {os.getpid()}" in told[0]
    assert taken.wait(30)


def test_what_else_goes_wrong_is_not_passed_over(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path, "run-1", "run 1", print):
        pass


def test_an_unreadable_note_is_another_process(holder, tmp_path):
    for note in ("", "[]", '{"pid": "x"}', "\x00"):
        (tmp_path / FOLDER / "run-1.json").write_text(note)
        assert locks._holder(tmp_path / FOLDER / "run-1.json") is None


def test_a_store_behind_a_link_that_leads_nowhere_is_no_endless_wait(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted" / "disk")
    with pytest.raises(OSError), locked(tmp_path / "runs", "run-1", "run 1", pytest.fail):
        pass
