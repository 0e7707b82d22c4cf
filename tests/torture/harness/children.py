"""A warm process that has loaded everything once, and forks a child for each command it has to see."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.faults import Fault, Operation, install

PATIENCE = 120.0
"""Seconds of processor time after which a command is stuck, or of rest in which it took none."""


@dataclass(frozen=True)
class End:
    """How a child ended."""

    code: int | None  # its exit code; None: it was killed
    stuck: bool
    told: str  # stdout and stderr

    @property
    def raised(self) -> bool:
        """Whether it ended in a traceback."""
        return "Traceback (most recent call last)" in self.told


@dataclass(frozen=True)
class Child:
    """A child that runs."""

    pid: int
    told: Path

    def end(self) -> End:
        """Wait for it; one that is stuck is killed. A busy machine makes nobody look stuck."""
        stuck, last, since = False, -1.0, time.monotonic()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        while pid == 0:
            used = _processor_seconds(self.pid)
            if used != last:
                last, since = used, time.monotonic()
            if not stuck and (used > PATIENCE or time.monotonic() - since > PATIENCE):
                stuck = True
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        text = self.told.read_text(errors="replace")
        self.told.unlink()
        return End(None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status), stuck, text)


def _processor_seconds(pid: int) -> float:
    """What a process has computed so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(folder: Path, act: Callable[[], int], fault: Fault | None = None, log: Path | None = None) -> Child:
    """Fork a child that acts in a folder, with a fault; `log` is where its operations are listed."""
    told = folder.with_name(f"{folder.name}.told-{time.monotonic_ns()}")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, told)
    code = 70
    try:
        code = _live(folder, act, fault, log, told)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def act_in(folder: Path, act: Callable[[], int]) -> End:
    """The same without a fault, to its end."""
    return start(folder, act).end()


def spawn(folder: Path, words: Sequence[str]) -> Child:
    """Give a command in a process of its own: a fork would inherit threads and connections, as Ray's are."""
    told = folder.with_name(f"{folder.name}.told-{time.monotonic_ns()}")
    opened = (os.POSIX_SPAWN_OPEN, 1, str(told), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    command = ["env", f"--chdir={folder}", sys.executable, "-m", "bench", *words]
    return Child(
        os.posix_spawnp("env", command, os.environ, file_actions=[opened, (os.POSIX_SPAWN_DUP2, 1, 2)]), told
    )


def operations(folder: Path, act: Callable[[], int]) -> tuple[End, list[Operation]]:
    """The same, and the operations on files that it did."""
    log = folder.with_name(f"{folder.name}.log")
    end = start(folder, act, None, log).end()
    found = [Operation(*entry) for entry in json.loads(log.read_text())] if log.is_file() else []
    log.unlink(missing_ok=True)
    return end, found


def _live(folder: Path, act: Callable[[], int], fault: Fault | None, log: Path | None, told: Path) -> int:
    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(folder)
    place = folder / "tmp"
    place.mkdir(exist_ok=True)
    tempfile.tempdir = str(place)
    done: list[Operation] = []
    plain, write = open, os.write
    install(folder, fault, done)
    try:
        return act()
    except BaseException:
        write(2, traceback.format_exc().encode())
        return 70
    finally:
        if log is not None:
            with plain(log, "w") as out:
                json.dump([[operation.name, operation.path] for operation in done], out)


def steps(folder: Path, acts: Sequence[Callable[[], int]]) -> None:
    """Do what goes before, each in a child; raises RuntimeError where one fails."""
    for act in acts:
        end = act_in(folder, act)
        if end.code:
            raise RuntimeError(end.told)
