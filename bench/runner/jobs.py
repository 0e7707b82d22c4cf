"""One graph of jobs: each begins when those that it needs are done, and as many at once as workers can feed.

Without workers they are done one after the other, in the order in which they are given. With a pool each job
has a thread, of which one at a time does the driver's work; the others wait for workers (`Pool.turn`). A job
that fails stops those that need it and no other.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bench.core.disk import FAILING, FULL
from bench.core.errors_of_others import in_one_line
from bench.errors import BenchError
from bench.runner.pool import Pool, PoolClosed

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = 10.0
"""Seconds that threads have to leave when the graph is left."""


@dataclass(frozen=True)
class Failed:
    """What a job gave in the place of its result."""

    why: str  # in a sentence
    error: Exception | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Job(Generic[T]):
    """One thing to do."""

    id: str
    told: str  # in a few words
    do: Callable[[], T]
    needs: tuple[str, ...] = ()  # jobs that must have succeeded
    after: tuple[str, ...] = ()  # jobs that must be over, whatever came of them


def play(
    jobs: Sequence[Job[T]], pool: Pool | None, begin: Callable[[Job[T]], object]
) -> Iterator[tuple[Job[T], T | Failed]]:
    """Every job with what came of it, as soon as it is known; `begin` is told of each that begins.

    Jobs are given after those that they need; a name that no job has is done already. What the disk cannot
    hold, and what ends a process, ends the graph.
    """
    if pool is None:
        return _in_a_row(jobs, begin)
    return _Graph(jobs, pool, begin).play()


def _in_a_row(
    jobs: Sequence[Job[T]], begin: Callable[[Job[T]], object]
) -> Iterator[tuple[Job[T], T | Failed]]:
    failed: dict[str, Failed] = {}
    for job in jobs:
        begin(job)
        found = _outcome(job, failed)
        if isinstance(found, Failed):
            failed[job.id] = found
        yield job, found


def tried(do: Callable[[], R]) -> R | Failed:
    """What it gives, or why it failed.

    Raises:
        OSError: the disk is full or failing, which ends more than one job.
    """
    try:
        return do()
    except BenchError as error:
        return Failed(str(error), error)
    except OSError as error:
        if error.errno in FULL | FAILING:
            raise
        return Failed(in_one_line(error), error)
    except Exception as error:
        return Failed(in_one_line(error), error)


def _outcome(job: Job[R], failed: dict[str, Failed]) -> R | Failed:
    """What comes of a job; one that needs what failed is not begun, and failed for the same reason."""
    before = next((failed[name] for name in job.needs if name in failed), None)
    return tried(job.do) if before is None else before


class _Graph(Generic[T]):
    """Jobs in threads, as many at once as there are workers, and one that is written meanwhile."""

    def __init__(self, jobs: Sequence[Job[T]], pool: Pool, begin: Callable[[Job[T]], object]) -> None:
        self._waiting = {job.id: job for job in jobs}
        self._pool, self._begin, self._most = pool, begin, pool.engine.seats + 1
        self._threads: dict[str, threading.Thread] = {}
        self._done: dict[str, tuple[Job[T], T | Failed]] = {}  # and not told yet
        self._failed: dict[str, Failed] = {}
        self._fatal: list[BaseException] = []

    def play(self) -> Iterator[tuple[Job[T], T | Failed]]:
        turn = self._pool.turn = threading.Lock()
        turn.acquire()
        try:
            while self._waiting or self._threads:
                rings = self._pool.rings
                self._start()
                yield from self._told()
                if self._threads and not self._done:
                    self._pool.sleep(rings)
        except BaseException:
            self._pool.close()
            raise
        finally:
            self._pool.turn = None
            turn.release()
            for thread in self._threads.values():
                thread.join(_PATIENCE)

    def _start(self) -> None:
        for job in [job for job in self._waiting.values() if self._is_ready(job)]:
            if len(self._threads) >= self._most:
                return
            del self._waiting[job.id]
            self._begin(job)
            context = contextvars.copy_context()
            turn = self._pool.turn
            thread = threading.Thread(target=context.run, args=(self._do, job, turn), daemon=True)
            self._threads[job.id] = thread
            thread.start()

    def _is_ready(self, job: Job[T]) -> bool:
        return not any(name in self._waiting or name in self._threads for name in (*job.needs, *job.after))

    def _do(self, job: Job[T], turn: threading.Lock) -> None:
        with turn:
            try:
                found = _outcome(job, self._failed)
                self._done[job.id] = job, found
            except PoolClosed:
                return
            except BaseException as error:
                self._fatal.append(error)
            finally:
                self._pool.ring()

    def _told(self) -> Iterator[tuple[Job[T], T | Failed]]:
        if self._fatal:
            raise self._fatal[0]
        while self._done:
            name, (job, found) = self._done.popitem()
            del self._threads[name]
            if isinstance(found, Failed):
                self._failed[name] = found
            yield job, found
