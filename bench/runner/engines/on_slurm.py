"""A Slurm queue, by submitit: workers are jobs that take one task after the other until their time is up.

Driver and workers meet in a folder of the store, which every node must see. A worker has a folder there: its
questions and answers are files, each written whole. A job whose time is up, or whose node fails, is queued
again and answers the question that it left. Workers leave when the driver says so, or is silent for a minute.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import submitit
import submitit.local.local
import torch

from bench.errors import BadValue, BenchError
from bench.records.at_work import FOLDER
from bench.records.files import write_all
from bench.runner.engines.named import count
from bench.runner.options import Options
from bench.runner.pool import Engine, Seat

_LOOK = 0.05
"""Seconds between two looks for a file."""

_SIGN = 5.0
"""Seconds between two signs of the driver's life, and between two looks at the queue."""

_PATIENCE = 60.0
"""Seconds without a sign after which a worker leaves."""

_PID = "pid"
"""The file in which a worker says which process it is."""

_EXAMPLE = "--on slurm:partition=gpu,gpus=1,minutes=60,jobs=8"


def engine(text: str, options: Options) -> Engine:
    """`slurm:KEY=VALUE,...`: what each job asks for, and how many there are; cluster=local tries it here.

    Raises:
        BadValue: a key or a value is not as it must be, or there is no Slurm here.
    """
    given = dict(_pairs(text))
    jobs = count(given.pop("jobs", "1"), "jobs of --on slurm", _EXAMPLE)
    cluster = given.pop("cluster", "slurm")
    if cluster not in ("slurm", "local") or (cluster == "slurm" and shutil.which("sbatch") is None):
        raise BadValue(
            f"--on is 'slurm:{text}', but the command sbatch is not here, expected a machine of the cluster",
            "--on slurm:cluster=local,jobs=2, which starts the same jobs on this machine",
        )
    return OnSlurm(f"slurm:{text}", jobs, cluster, _parameters(given), options.store.root)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in ("jobs", "cluster", *_PARAMETERS):
            known = ", ".join(("jobs", "cluster", *_PARAMETERS))
            raise BadValue(f"--on slurm has {part!r}, expected KEY=VALUE with a key of {known}", _EXAMPLE)
        yield name, value


def _number(name: str) -> Callable[[str], int]:
    return lambda text: count(text, f"{name} of --on slurm", _EXAMPLE, 10**6)


_PARAMETERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "partition": ("slurm_partition", str),
    "account": ("slurm_account", str),
    "qos": ("slurm_qos", str),
    "gpus": ("gpus_per_node", _number("gpus")),
    "minutes": ("timeout_min", _number("minutes")),
    "memory": ("mem_gb", _number("memory")),
}
"""What is typed -> what submitit calls it, and its type."""


def _parameters(given: dict[str, str]) -> dict[str, Any]:
    found = {_PARAMETERS[name][0]: _PARAMETERS[name][1](value) for name, value in given.items()}
    return {"timeout_min": 60, **found, "cpus_per_task": torch.get_num_threads()}


class OnSlurm:
    """Workers that are jobs of a queue."""

    def __init__(self, name: str, jobs: int, cluster: str, parameters: dict[str, Any], store: Path) -> None:
        self.name, self.seats = name, jobs
        self._folder = store.absolute() / FOLDER / secrets.token_hex(6)
        self._folder.mkdir(parents=True, mode=0o700)
        self._executor = submitit.AutoExecutor(folder=self._folder / "logs", cluster=cluster)
        if cluster == "local":
            parameters = {key: value for key, value in parameters.items() if not key.startswith("slurm_")}
        self._executor.update_parameters(name="bench-worker", **parameters)
        self._seats: list[_JobSeat] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def seat(self, place: int) -> Seat:
        """A job; it may wait in the queue for long."""
        folder = self._folder / f"{place:04d}"
        folder.mkdir()
        found = _JobSeat(folder, self._executor.submit(Serve(), str(folder)))
        self._seats.append(found)
        return found

    def close(self) -> None:
        """End every job, and remove the folder where it was met."""
        self._ended.set()
        self._thread.join()
        for seat in self._seats:
            seat.end()
        deadline = time.monotonic() + _SIGN
        while time.monotonic() < deadline and not all(seat.has_left() for seat in self._seats):
            time.sleep(_LOOK)
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):  # another driver is there
            self._folder.parent.rmdir()

    def _watch(self) -> None:
        """Give signs of life, and hand on answers."""
        signs, last = 0, 0.0
        while not self._ended.wait(_LOOK):
            if time.monotonic() - last > _SIGN:
                signs, last = signs + 1, time.monotonic()
                _put(self._folder / "driver", str(signs).encode())
            for seat in [*self._seats]:
                seat.look()


class JobGone(BenchError):
    """A job that ended with a question unanswered."""


class _JobSeat:
    """One job as the driver sees it."""

    def __init__(self, folder: Path, job: Any) -> None:
        self.name = f"job {job.job_id}"
        self._folder, self._job = folder, job
        self._asked, self._waiting = 0, dict[Path, Future[bytes]]()
        self._looked = time.monotonic()

    def ask(self, message: bytes) -> Future[bytes]:
        self._asked += 1
        future: Future[bytes] = Future()
        self._waiting[self._folder / f"answer-{self._asked:06d}"] = future
        _put(self._folder / f"question-{self._asked:06d}", message)
        return future

    def look(self) -> None:
        """Hand on what was answered, and see now and then whether the job is still there."""
        for path, future in [*self._waiting.items()]:
            if path.is_file():
                del self._waiting[path]
                content = path.read_bytes()
                path.unlink()
                future.set_result(content)
        if self._waiting and time.monotonic() - self._looked > _SIGN:
            self._looked = time.monotonic()
            if self._is_gone():
                time.sleep(_LOOK)  # its last answer may be on its way
                self._give_up()

    def _is_gone(self) -> bool:
        """Whether the job neither runs nor waits; the queue knows it, even where there is no accounting."""
        if isinstance(self._job, submitit.local.local.LocalJob):
            return bool(self._job.done(force_check=True))
        words = ["squeue", "--noheader", "--jobs", str(self._job.job_id), "--format", "%T"]
        told = subprocess.run(words, capture_output=True, text=True, check=False)
        return not told.stdout.strip() and (told.returncode == 0 or "Invalid job id" in told.stderr)

    def _give_up(self) -> None:
        for path, future in [*self._waiting.items()]:
            if not path.is_file():
                del self._waiting[path]
                future.set_exception(JobGone("was killed, or ended, and is no longer in the queue"))

    def lost(self, error: BaseException) -> str | None:
        return error.message if isinstance(error, JobGone) else None

    def end(self) -> None:
        """Have it leave by itself; one that is busy, or still in the queue, is taken out of it."""
        (self._folder / "stop").touch()
        if self._waiting or not self._asked:
            (self._folder / "left").touch()
            with suppress(Exception):  # it is gone already, whatever the queue says of it
                self._cancel()

    def _cancel(self) -> None:
        """Take it out of the queue; one without a queue would print how it was interrupted."""
        if not isinstance(self._job, submitit.local.local.LocalJob):
            self._job.cancel(check=False)
        elif (self._folder / _PID).exists():  # one that has not begun finds that it is to stop
            os.kill(int((self._folder / _PID).read_text()), signal.SIGKILL)

    def has_left(self) -> bool:
        """Whether nobody will look into its folder any more."""
        return (self._folder / "left").exists()


class Serve(submitit.helpers.Checkpointable):  # type: ignore[misc]
    """The life of a job: question by question; when its time is up, it is queued again with its folder."""

    def __call__(self, folder: str) -> None:
        """Answer until nobody asks any more."""
        from bench.runner.worker import answer

        place, sign, since = Path(folder), b"", time.monotonic()
        if place.is_dir():
            _put(place / _PID, str(os.getpid()).encode())
        while place.is_dir() and not (place / "stop").exists():
            question = next(iter(sorted(place.glob("question-*"))), None)
            if question is not None:
                _put(place / question.name.replace("question", "answer"), answer(question.read_bytes()))
                question.unlink()
                since = time.monotonic()
                continue
            with suppress(OSError):
                now = (place.parent / "driver").read_bytes()
                sign, since = now, since if now == sign else time.monotonic()
            if time.monotonic() - since > _PATIENCE:
                return
            time.sleep(_LOOK)
        with suppress(OSError):  # the driver has removed the folder
            (place / "left").touch()


def _put(path: Path, content: bytes) -> None:
    """Write a file that appears whole; after a power cut nobody needs it."""
    write_all({path: content}, synced=False)
