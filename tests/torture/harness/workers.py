"""A run by two workers of which one, or whose node or driver, is killed after some cells."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness.children import act_in, start
from harness.injections import Injection
from harness.scenarios import TWO, call, write_data
from harness.snapshot import differences, snapshot

NAME = "two workers"
KINDS = ("kill a worker", "kill the driver")
OF_RAY = ("kill a worker of ray", "kill a node of ray", "kill the driver of ray")
"""Where Ray is installed: a cluster of two local nodes."""

MARKS = (b"popen_loky_posix", b"ray::_Desk")
"""What stands in the command line of a worker."""

WORDS = tuple("suite.chunk=2" if word == "suite.chunk=6" else word for word in TWO)
"""Twelve cells."""


class Gang:
    """A store in which a run is computed by two workers."""

    def __init__(self, place: Path) -> None:
        self.base = place / "work"
        self.reset()
        end = act_in(self.base, partial(call, WORDS))
        if end.code:
            raise RuntimeError(end.told)
        self.expected = snapshot(self.base)

    def run(self, kind: str, after: int) -> Injection:
        """Kill one of them once so many cells are stored, and give the command again."""
        self.reset()
        with _cluster(kind) as (engine, kill_node):
            driver = start(self.base, partial(call, (*WORDS, "--on", engine)))
            workers = self._wait(driver.pid, after)
            target = driver.pid if "driver" in kind else (workers or [driver.pid])[after % 2 - 1]
            is_killed = kill_node() if "node" in kind else _kill(target)
            end, faults = driver.end(), []
            if end.stuck or (end.raised and target != driver.pid):
                faults.append(f"the driver was stuck or raised: {end.told.strip().splitlines()[-1:]}")
            if end.code != (None if "driver" in kind and is_killed else 0) and end.code is not None:
                faults.append(f"the driver ended with {end.code}, and what a worker's loss costs is a worker")
            faults += [f"process {pid} outlives the driver" for pid in workers if not _is_gone(pid)]
            again = act_in(self.base, partial(call, (*WORDS, "--on", engine)))
        if again.code:
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
            workers = [pid for pid in [*children_of(driver), *_actors()] if _is_worker(pid)] or workers
            if len(workers) == 2 and len(list(self.base.glob("runs/*/cells/*/*.npz"))) >= cells:
                break
            time.sleep(0.002)
        return workers


def moments(most: int) -> Iterator[tuple[str, int]]:
    """Whom to kill after how many cells."""
    for kind in (*KINDS, *(OF_RAY if most > 1 and importlib.util.find_spec("ray") else ())):
        yield from ((kind, round(11 * k / max(1, most - 1))) for k in range(min(most, 12)))


@contextmanager
def _cluster(kind: str) -> Iterator[tuple[str, Callable[[], bool]]]:
    """The engine of a kind, and what kills one of its two nodes."""
    if kind not in OF_RAY:
        yield "local:2", lambda: False
        return
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)

    def kill_node() -> bool:
        cluster.remove_node(second, allow_graceful=False)
        return True

    try:
        yield f"ray:{cluster.address}", kill_node
    finally:
        cluster.shutdown()


def _actors() -> list[int]:
    """The workers of a cluster, which are nobody's children here."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _is_actor(path)]


def _is_actor(path: Path) -> bool:
    return b"ray::_Desk" in _command(int(path.name))


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
    deadline = time.monotonic() + 30
    while _is_worker(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
