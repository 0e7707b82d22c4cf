"""Where steps work, how long they may, and the processes that they start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRETEND = ROOT / "tests" / "pretend_cuda" / "command.py"
"""Runs any module on the pretend cards."""


class OutOfTime(Exception):
    """The minutes are over."""


class Failed(Exception):
    """A process of a step ended with an error, told by its last lines."""


@dataclass(frozen=True)
class Place:
    """What all steps share."""

    out: Path
    pictures: str  # data set of colour images, as `--data` takes it
    data_root: Path | None
    pretended: bool  # no card is at hand: everything in small, on the pretend device
    until: float  # the monotonic time at which the minutes are over

    @property
    def store(self) -> Path:
        """Where trainings and runs are kept, so that what was stopped goes on."""
        return self.out / "store"

    def left(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()

    def python(self, module: str, *words: object) -> str:
        """What a module tells on stdout; in a process of its own, for a card that has stopped takes it along.

        Raises:
            OutOfTime: the minutes were over first.
            Failed: it ended with an error.
        """
        process = self.started(module, *words)
        told = self.heard(process)
        if process.returncode != 0:
            raise Failed("\n".join(told.strip().splitlines()[-8:]))
        return told

    def heard(self, process: subprocess.Popen[str]) -> str:
        """What a process tells until it ends: its stdout, after an error its stderr, too.

        Raises:
            OutOfTime: the minutes were over first; it was killed.
        """
        try:
            told, errors = process.communicate(timeout=max(self.left(), 0))
        except subprocess.TimeoutExpired:
            raise OutOfTime from None
        finally:
            end(process)
        return told if process.returncode == 0 else told + errors

    def started(self, module: str, *words: object) -> subprocess.Popen[str]:
        """The process that runs a module, with what it starts in a group of its own."""
        first = [str(PRETEND)] if self.pretended else []
        return subprocess.Popen(
            [sys.executable, *first, "-m", module, *(str(word) for word in words)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def bench(self, *words: object, store: Path | None = None, device: str = "cuda") -> str:
        """What a command of the harness tells, on the card and in the store of all steps."""
        return self.python("bench", *self.words(*words, store=store, device=device))

    def words(self, *words: object, store: Path | None = None, device: str = "cuda") -> list[object]:
        """The words of such a command."""
        root = [] if self.data_root is None else ["--data-root", self.data_root]
        return [*words, "--store", store or self.store, "--device", device, *root]

    def wait_for(self, there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Until something is there, or the process has ended.

        Raises:
            OutOfTime: the minutes were over first.
        """
        while not there() and process.poll() is None:
            if self.left() <= 0:
                raise OutOfTime
            time.sleep(0.2)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that it started, and read what it said."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(ValueError):  # it was read before
        process.communicate()
