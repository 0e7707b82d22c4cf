"""A run by two workers of which one, or whose node or driver, is killed after some cells."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.children import spawn
from harness.injections import Injection
from harness.scenarios import TWO, write_data
from harness.snapshot import differences, snapshot

NAME = "two workers"

ENGINES: Mapping[str, tuple[str, ...]] = {
    "local": ("kill a worker", "kill the driver"),
    "ray": ("kill a worker of ray", "kill a node of ray", "kill the driver of ray"),
    "slurm": ("kill a worker of slurm", "kill a node of slurm", "kill the driver of slurm"),
}
"""Engine -> what is killed. Ray is a cluster of two local nodes; Slurm's jobs run here, without a queue."""

NEEDS: Mapping[str, str] = {"ray": "ray", "slurm": "submitit"}
"""Engine -> the package that it is made of."""

MARKS = (b"popen_loky_posix", b"ray::_Desk", b"submitit.core._submit")
"""What stands in the command line of a worker."""

LEAVING = 90.0
"""Seconds that a worker has to end after its driver was killed; a job waits a minute for a sign of it."""

WORDS = tuple("suite.chunk=2" if word == "suite.chunk=6" else word for word in TWO)
"""Twelve cells."""


class Gang:
    """A store in which a run is computed by two workers."""

    def __init__(self, place: Path) -> None:
        self.base = place / "work"
        self.reset()
        end = spawn(self.base, WORDS).end()
        if end.code:
            raise RuntimeError(end.told)
        self.expected = snapshot(self.base)

    def run(self, kind: str, after: int) -> Injection:
        """Kill one of them once so many cells are stored, and give the command again."""
        self.reset()
        with _cluster(kind) as (engine, kill_node):
            driver = spawn(self.base, (*WORDS, "--on", engine))
            workers = self._wait(driver.pid, after)
            target = driver.pid if "driver" in kind else (workers or [driver.pid])[after % 2 - 1]
            is_killed = kill_node(target) if "node" in kind else _kill(target)
            end, faults = driver.end(), []
            if end.stuck or (end.raised and target != driver.pid):
                faults.append(f"the driver was stuck or raised: {end.told.strip().splitlines()[-1:]}")
            if end.code != (None if "driver" in kind and is_killed else 0) and end.code is not None:
                faults.append(f"the driver ended with {end.code}, and what a worker's loss costs is a worker")
            faults += [f"process {pid} outlives the driver" for pid in workers if not _is_gone(pid)]
            again = spawn(self.base, (*WORDS, "--on", engine)).end()
        if again.code != 0 or again.stuck:
            faults.append(f"again: ended with {again.code}: {again.told.strip().splitlines()[-1:]}")
        faults += differences(self.expected, snapshot(self.base))
        return Injection(
            NAME, kind, after, f"after {after} of 12 cells{'' if is_killed else ', too late'}", tuple(faults)
        )

    def reset(self) -> None:
        """An empty store."""
        shutil.rmtree(self.base.parent, ignore_errors=True)
        self.base.mkdir(parents=True)
        write_data(self.base)

    def _wait(self, driver: int, cells: int) -> list[int]:
        """Until so many cells are stored and both workers run, or all is over; gives the workers."""
        workers: list[int] = []
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not list(self.base.glob("runs/*/record.json")):
            workers = [pid for pid in _descendants(driver, self.base) if _is_worker(pid)] or workers
            if len(workers) == 2 and len(list(self.base.glob("runs/*/cells/*/*.npz"))) >= cells:
                break
            time.sleep(0.002)
        return workers


def moments(most: int, engines: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Whom to kill after how many cells, on each engine."""
    for kind in (kind for engine in engines for kind in ENGINES[engine]):
        yield from ((kind, round(11 * k / max(1, most - 1))) for k in range(min(most, 12)))


def lacking(engine: str) -> str | None:
    """The package without which an engine is left out; None: it is there."""
    package = NEEDS.get(engine)
    return package if package is not None and importlib.util.find_spec(package) is None else None


@contextmanager
def _cluster(kind: str) -> Iterator[tuple[str, Callable[[int], bool]]]:
    """The engine of a kind, and what kills a node of it, on which a worker runs."""
    if kind in ENGINES["local"]:
        yield "local:2", _kill
    elif kind in ENGINES["slurm"]:
        yield "slurm:cluster=local,jobs=2", _kill_with_parent
    else:
        with _two_nodes() as found:
            yield found


@contextmanager
def _two_nodes() -> Iterator[tuple[str, Callable[[int], bool]]]:
    """A cluster of Ray."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)

    def kill_node(worker: int) -> bool:
        cluster.remove_node(second, allow_graceful=False)
        return True

    try:
        yield f"ray:{cluster.address}", kill_node
    finally:
        cluster.shutdown()


def _descendants(driver: int, base: Path) -> Iterator[int]:
    """A driver's children, and workers that are nobody's children here: of a cluster, and of jobs."""
    yield from children_of(driver)
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and _is_of_others(_command(int(path.name)), base):
            yield int(path.name)


def _is_of_others(command: bytes, base: Path) -> bool:
    return MARKS[1] in command or (MARKS[2] in command and os.fsencode(base) in command)


def _kill_with_parent(pid: int) -> bool:
    """A job's process and what watches over it go at once, as with their node."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return _kill(parent) and _kill(pid)


def _is_worker(pid: int) -> bool:
    return any(mark in _command(pid) for mark in MARKS)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
        return [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> bool:
    """Whether there was anything left to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_gone(pid: int) -> bool:
    """Whether a worker ends by itself, soon."""
    deadline = time.monotonic() + LEAVING
    while _is_worker(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
