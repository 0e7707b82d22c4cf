"""Who computes the cells of a run: this process, or several that each hold the network by themselves.

What is handed out is a chain: one chunk, and columns of which each goes on from the one before. Chains need
nothing of each other and are random by their own seeds, so who computes them, when, and in which order
changes no result (docs/adr/0008-workers.md).
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Protocol

import torch

from bench.api import Trial
from bench.core.imports import FROM_FILE, module_at
from bench.core.outcomes import Outcomes
from bench.core.progress import Silent
from bench.core.seeds import seed_for
from bench.errors import BadValue, BenchError
from bench.evaluate.engine import Cell, play
from bench.plan import RunSpec
from bench.runner.opened import Opened, open_run
from bench.runner.options import Options, pick_device


@dataclass(frozen=True)
class Chain:
    """Columns on one chunk, each a sequel of the one before it: what is computed in a row."""

    number: int  # of the chunk
    trials: tuple[Trial, ...]
    before: Outcomes | None = None  # where the first goes on from, if it is a sequel

    def __str__(self) -> str:
        return f"{', '.join(trial.column for trial in self.trials)} on chunk {self.number}"


@dataclass(frozen=True)
class Played:
    """A computed cell."""

    column: str
    number: int
    cell: Cell


class Executor(Protocol):
    """Computes chains."""

    def play(self, chains: Iterable[Chain]) -> Iterator[Played]:
        """Every cell as soon as it is computed.

        Chains are begun in their order, and the next is asked for when somebody is free to compute it. A cell
        that failed ends its chain.
        """


class InThisProcess:
    """One after the other, here."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        opened.lay_out()

    def play(self, chains: Iterable[Chain]) -> Iterator[Played]:
        """Every cell of every chain, in order."""
        for chain in chains:
            yield from _links(self._opened, chain)


class Processes:
    """Several processes, started when there is work for them; they end when the context is left.

    Each loads the weights and the data from the store and uses as many threads as this process, because sums
    of floats depend on that number. Over the GPUs of `auto` and `cuda` they are dealt out in turn.
    """

    def __init__(self, spec: RunSpec, options: Options, workers: int) -> None:
        self._spec, self._options, self._count = spec, options, workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def play(self, chains: Iterable[Chain]) -> Iterator[Played]:
        """Every cell, in the order in which they are done.

        Raises:
            WorkerLost: a process was killed, or died.
        """
        waiting = iter(chains)
        exhausted = False
        while True:
            while not exhausted and (self._idle or len(self._workers) < self._count):
                chain = next(waiting, None)
                if chain is None:
                    exhausted = True
                else:
                    (self._idle[0] if self._idle else self._another()).begin(chain)
            busy = {worker.pipe: worker for worker in self._workers if worker.chain is not None}
            if not busy:
                return
            for pipe in wait(list(busy)):
                played = busy[pipe].answer()  # type: ignore[index]
                if played is not None:
                    yield played

    @property
    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.chain is None]

    def _another(self) -> _Worker:
        place = len(self._workers)
        device = worker_device(pick_device(self._options.device), place, torch.cuda.device_count())
        # what is in the store was looked at by this process, and nothing is told twice
        options = dataclasses.replace(
            self._options, device=device, stale="accept", download=False, progress=Silent()
        )
        worker = _Worker(f"worker {place + 1} of {self._count}")
        self._workers.append(worker)  # it ends with the others, whatever happens from here on
        worker.send((self._spec, options))
        return worker


def worker_device(device: torch.device, place: int, gpus: int) -> str:
    """Where a worker computes: a GPU without a number is each of them in turn.

    >>> [worker_device(torch.device("cuda"), place, 2) for place in range(3)]
    ['cuda:0', 'cuda:1', 'cuda:0']
    >>> worker_device(torch.device("cuda:1"), 0, 2)
    'cuda:1'
    """
    return f"cuda:{place % gpus}" if str(device) == "cuda" and gpus > 1 else str(device)


class _Worker:
    """One process as its parent sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.chain: Chain | None = None  # what it computes now
        context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU of its parent's
        self.pipe, theirs = context.Pipe()
        given = theirs, _files(), torch.get_num_threads()
        self._process = context.Process(target=_work, args=given, name=name, daemon=True)
        with _interrupts_ignored():  # Ctrl-C is the parent's to answer; this is inherited
            self._process.start()
        theirs.close()  # so that the pipe ends when the process does

    def send(self, message: object) -> None:
        """First the run and how it is done, then chains."""
        try:
            self.pipe.send(message)
        except OSError:
            raise self._lost() from None
        except Exception as error:  # whatever classes of the user's make of being pickled
            raise BadValue(
                f"the run cannot be handed to other processes ({error}), expected classes at the top level "
                "of a module",
                "--workers 1",
            ) from None

    def begin(self, chain: Chain) -> None:
        """Hand it a chain."""
        self.chain = chain
        self.send(chain)

    def answer(self) -> Played | None:
        """What it has to say: a cell, or None when its chain is done."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(message, _Raised):
            raise message.error from _InWorker(f"{self.name}:\n{message.told}")
        if message is None:
            self.chain = None
        played: Played | None = message
        return played

    def end(self) -> None:
        """Who has nothing to do leaves by itself, and cleans up; whoever works is stopped."""
        self.pipe.close()
        if self.chain is None:
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
            f"{self.name} (process {self._process.pid}) {how} at {self.chain or 'its start'}; what was done "
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


def _links(opened: Opened, chain: Chain) -> Iterator[Played]:
    before, chunk = chain.before, opened.chunk(chain.number)
    for trial in chain.trials:
        cell = play(opened.arena, trial, chunk, seed_for(opened.spec.id, trial.column, chain.number), before)
        yield Played(trial.column, chain.number, cell)
        if cell.outcomes is None:
            return
        before = cell.outcomes


def _work(pipe: Connection, files: list[str], threads: int) -> None:
    """A worker's life: open the run, then chain by chain, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        for file in files:
            module_at(file, "a file that the parent has imported")
        here = InThisProcess(open_run(*pipe.recv()))
        while True:
            for played in here.play([pipe.recv()]):
                pipe.send(played)
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
        str(module.__dict__[FROM_FILE]) for module in sys.modules.values() if FROM_FILE in module.__dict__
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
