"""Processes of this machine, by loky: each worker is an executor of one, so a loss says which it was."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch
from joblib.externals.loky.backend import get_context
from joblib.externals.loky.process_executor import ProcessPoolExecutor, ShutdownExecutorError

from bench.runner.engines.named import count
from bench.runner.options import Options, pick_device
from bench.runner.pool import Engine, Seat
from bench.runner.worker import DEVICE, answer


def engine(text: str, options: Options) -> Engine:
    """`local:N`: N processes; over the GPUs of `auto` and `cuda` they are dealt out in turn."""
    return Local(count(text, "the number of workers of --on local", "--on local:2"), options.device)


class Local:
    """Workers that are processes beside this one."""

    def __init__(self, seats: int, device: str) -> None:
        self.name, self.seats, self._device = f"local:{seats}", seats, device

    def seat(self, place: int) -> Seat:
        """A process, started with its first message."""
        number = place % self.seats
        gpus = torch.cuda.device_count()
        device = worker_device(pick_device(self._device), number, gpus)
        return _Process(f"worker {place + 1} on this machine", device)

    def close(self) -> None:
        """Nothing besides seats was started."""


def worker_device(device: torch.device, place: int, gpus: int) -> str:
    """Where a worker computes: a GPU without a number is each of them in turn.

    >>> [worker_device(torch.device("cuda"), place, 2) for place in range(3)]
    ['cuda:0', 'cuda:1', 'cuda:0']
    >>> worker_device(torch.device("cuda:1"), 0, 2)
    'cuda:1'
    """
    return f"cuda:{place % gpus}" if str(device) == "cuda" and gpus > 1 else str(device)


class _Process:
    """One process as its parent sees it."""

    def __init__(self, name: str, device: str) -> None:
        self.name = name
        self._executor = ProcessPoolExecutor(
            max_workers=1,
            context=get_context("loky_init_main"),  # not forked: a fork cannot use a GPU of its parent's
            initializer=_begin,
            initargs=(os.getpid(),),
            env={DEVICE: device},
        )

    def ask(self, message: bytes) -> Future[bytes]:
        with _interrupts_ignored():  # Ctrl-C is the parent's to answer; a process that starts inherits this
            found: Future[bytes] = self._executor.submit(answer, message)
        return found

    def lost(self, error: BaseException) -> str | None:
        if not isinstance(error, (BrokenProcessPool, ShutdownExecutorError)):
            return None
        code = re.search(r"\((-?\d+)\)\}", str(error))
        if code is None:
            return "died"
        ended = int(code[1])
        return f"was killed by signal {-ended}" if ended < 0 else f"ended with code {ended}"

    def end(self) -> None:
        """Stop it, whatever it does."""
        self._executor.shutdown(wait=True, kill_workers=True)


def _begin(parent: int) -> None:
    """The first thing in a worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """A parent that was killed can tell nobody: so its workers look whether it is there."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


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
