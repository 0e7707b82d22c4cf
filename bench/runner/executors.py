"""Who computes cells: this process, or several that each hold the networks by themselves.

A `Work` says what is measured and can be sent to another process; opened there, it is a `Player` with the
networks ready, which computes one task after the other. Tasks need nothing of each other and are random by
their own seeds, so who computes them, when, and in which order changes no result (docs/adr/0008-workers.md).
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, Protocol, TypeVar

import torch

from bench.core.imports import FROM_FILE, module_at
from bench.core.progress import Silent
from bench.errors import BadValue, BenchError
from bench.runner.options import Options, pick_device

Task = TypeVar("Task")
Result = TypeVar("Result")
Task_contra = TypeVar("Task_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Player(Protocol[Task_contra, Result_co]):
    """Networks that are ready, and what is measured on them."""

    def play(self, task: Task_contra) -> Iterator[Result_co]:
        """Every result of one task, as soon as it is computed."""


class Work(Protocol[Task_contra, Result_co]):
    """What is measured, as it can be sent to another process."""

    def open(self, options: Options) -> Player[Task_contra, Result_co]:
        """Load the weights from the store, and prepare all networks."""


class Executor(Protocol[Task, Result]):
    """Computes tasks."""

    def play(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Every result as soon as it is computed.

        Tasks are begun in their order, and the next is asked for when somebody is free to compute it.
        """

    def __enter__(self) -> Executor[Task, Result]:
        """Ready to play; what was started ends when the context is left."""

    def __exit__(self, *_: object) -> None: ...


def executor(
    here: Callable[[], Player[Task, Result]], work: Work[Task, Result], options: Options
) -> Executor[Task, Result]:
    """What `--workers` asks for: this process, whose player `here` makes, or several that open the work."""
    if options.workers == 1:
        return InThisProcess(here())
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    if options.workers * threads > cores:
        options.progress.say(
            f"{options.workers} workers with {threads} thread{'s' * (threads > 1)} each share {cores} cores; "
            "OMP_NUM_THREADS sets the threads, on which the last digits of results depend"
        )
    return Processes(work, options)


class InThisProcess(Generic[Task, Result]):
    """One after the other, here."""

    def __init__(self, player: Player[Task, Result]) -> None:
        self._player = player

    def __enter__(self) -> InThisProcess[Task, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def play(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Every result of every task, in order."""
        for task in tasks:
            yield from self._player.play(task)


class Processes(Generic[Task, Result]):
    """As many processes as `options` has workers, started when there is work for them.

    Each loads the weights and the data from the store and uses as many threads as this process, because sums
    of floats depend on that number. Over the GPUs of `auto` and `cuda` they are dealt out in turn.
    """

    def __init__(self, work: Work[Task, Result], options: Options) -> None:
        self._work, self._options, self._count = work, options, options.workers
        self._workers: list[_Worker[Task, Result]] = []

    def __enter__(self) -> Processes[Task, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def play(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Every result, in the order in which they are done.

        Raises:
            WorkerLost: a process was killed, or died.
        """
        waiting = iter(tasks)
        exhausted = False
        while True:
            while not exhausted and (self._idle or len(self._workers) < self._count):
                task = next(waiting, None)
                if task is None:
                    exhausted = True
                else:
                    (self._idle[0] if self._idle else self._another()).begin(task)
            busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
            if not busy:
                return
            for pipe in wait(list(busy)):
                result = busy[pipe].answer()  # type: ignore[index]
                if result is not None:
                    yield result

    @property
    def _idle(self) -> list[_Worker[Task, Result]]:
        return [worker for worker in self._workers if worker.task is None]

    def _another(self) -> _Worker[Task, Result]:
        place = len(self._workers)
        device = worker_device(pick_device(self._options.device), place, torch.cuda.device_count())
        # what is in the store was looked at by this process, and nothing is told twice
        options = dataclasses.replace(
            self._options, device=device, stale="accept", download=False, progress=Silent()
        )
        worker: _Worker[Task, Result] = _Worker(f"worker {place + 1} of {self._count}")
        self._workers.append(worker)  # it ends with the others, whatever happens from here on
        worker.send((self._work, options))
        return worker


def worker_device(device: torch.device, place: int, gpus: int) -> str:
    """Where a worker computes: a GPU without a number is each of them in turn.

    >>> [worker_device(torch.device("cuda"), place, 2) for place in range(3)]
    ['cuda:0', 'cuda:1', 'cuda:0']
    >>> worker_device(torch.device("cuda:1"), 0, 2)
    'cuda:1'
    """
    return f"cuda:{place % gpus}" if str(device) == "cuda" and gpus > 1 else str(device)


class _Worker(Generic[Task, Result]):
    """One process as its parent sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task: Task | None = None  # what it computes now
        context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU of its parent's
        self.pipe, theirs = context.Pipe()
        given = theirs, _files(), torch.get_num_threads()
        self._process = context.Process(target=_work, args=given, name=name, daemon=True)
        with _interrupts_ignored():  # Ctrl-C is the parent's to answer; this is inherited
            self._process.start()
        theirs.close()  # so that the pipe ends when the process does

    def send(self, message: object) -> None:
        """First the work and how it is done, then tasks."""
        try:
            self.pipe.send(message)
        except OSError:
            raise self._lost() from None
        except Exception as error:  # whatever classes of the user's make of being pickled
            raise BadValue(
                f"the work cannot be handed to other processes ({error}), expected classes at the top level "
                "of a module",
                "--workers 1",
            ) from None

    def begin(self, task: Task) -> None:
        """Hand it a task."""
        self.task = task
        self.send(task)

    def answer(self) -> Result | None:
        """What it has to say: a result, or None when its task is done."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(message, _Raised):
            raise message.error from _InWorker(f"{self.name}:\n{message.told}")
        if message is None:
            self.task = None
        result: Result | None = message
        return result

    def end(self) -> None:
        """Who has nothing to do leaves by itself, and cleans up; whoever works is stopped."""
        self.pipe.close()
        if self.task is None:
            self._process.join(5)
        self._process.terminate()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _lost(self) -> WorkerLost:
        self._process.join(5)
        code = self._process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return WorkerLost(
            f"{self.name} (process {self._process.pid}) {how} at {self.task or 'its start'}; what was done "
            "is kept",
            "the same command, which goes on from there; fewer --workers if memory was short",
        )


@dataclass(frozen=True)
class _Raised:
    """What a worker could not deal with: a user's mistake, or a fault of ours."""

    error: Exception
    told: str


class WorkerLost(BenchError):
    """A worker was killed, as by a system that is short of memory, or died."""


class _InWorker(Exception):
    """Where in a worker an error came from."""


def _work(pipe: Connection, files: list[str], threads: int) -> None:
    """A worker's life: open the work, then task by task, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        for file in files:
            module_at(file, "a file that the parent has imported")
        work, options = pipe.recv()
        player = work.open(options)
        while True:
            for result in player.play(pipe.recv()):
                pipe.send(result)
            pipe.send(None)
    except (EOFError, BrokenPipeError):
        return  # nobody listens any more
    except Exception as error:
        pipe.send(_Raised(error, traceback.format_exc()))


def _leave_with_parent() -> None:
    """A parent that was killed can tell nobody: so its workers watch it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _files() -> list[str]:
    """Python files of the user's own, which a new process finds by their path only."""
    return [
        str(vars(module)[FROM_FILE])
        for module in [*sys.modules.values()]
        if FROM_FILE in getattr(module, "__dict__", ())
    ]


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Only the main thread may, and only it is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
