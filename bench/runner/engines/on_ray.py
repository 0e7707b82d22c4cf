"""Pools of cards and machines, by Ray: each worker is an actor that the cluster places."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError, RayError

from bench.core.errors_of_others import in_one_line
from bench.errors import BadValue
from bench.runner.options import Options
from bench.runner.pool import Engine, Seat
from bench.runner.worker import answer

PATIENCE = 120.0
"""Seconds that a cluster has to be reached."""


def engine(text: str, options: Options) -> Engine:
    """`ray[:ADDRESS]`: a worker for each GPU of the cluster, or for each `OMP_NUM_THREADS` of its cores.

    Without an address it is one of this machine alone, started and ended with the command.
    """
    return OnRay(text, options.device)


class OnRay:
    """Workers that are actors of a cluster."""

    def __init__(self, address: str, device: str) -> None:
        self.name = f"ray:{address}" if address else "ray"
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(address)
        held = ray.cluster_resources()
        self._threads = torch.get_num_threads()
        self._on_gpu = device != "cpu" and held.get("GPU", 0) >= 1
        self.seats = int(held["GPU"] if self._on_gpu else held.get("CPU", 0) // self._threads)
        if self.seats < 1:
            self.close()
            raise BadValue(
                f"the cluster of --on {self.name} has {held.get('CPU', 0):g} cores, and a worker takes "
                f"{self._threads}, expected at least as many",
                "OMP_NUM_THREADS=1 before the command",
            )

    def seat(self, place: int) -> Seat:
        """An actor, which the cluster starts where there is room."""
        return _Actor(f"worker {place + 1} on ray", self._threads, self._on_gpu)

    def close(self) -> None:
        """Leave the cluster, if this process entered it for the workers' sake."""
        if self._is_ours:
            ray.shutdown()


class _Desk:
    """What lives in the actor's process."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def answer(self, message: bytes) -> bytes:
        return answer(message)


class _Actor:
    """One actor as the driver sees it."""

    def __init__(self, name: str, threads: int, on_gpu: bool) -> None:
        self.name = name
        make: Any = ray.remote(_Desk).options(
            num_cpus=0 if on_gpu else threads, num_gpus=1 if on_gpu else 0, max_restarts=0, max_task_retries=0
        )
        self._actor = make.remote(threads)

    def ask(self, message: bytes) -> Future[bytes]:
        found: Future[bytes] = self._actor.answer.remote(message).future()
        return found

    def lost(self, error: BaseException) -> str | None:
        if isinstance(error, RayActorError):
            return "or its node died"
        return f"was lost ({type(error).__name__})" if isinstance(error, RayError) else None

    def end(self) -> None:
        """Stop it, whatever it does."""
        with suppress(RayError, ValueError, AttributeError):
            ray.kill(self._actor)


def _connect(address: str) -> None:
    """Enter a cluster, or start one here.

    Raises:
        BadValue: nobody answers at that address.
    """
    usual: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if not address:
            usual["include_dashboard"] = False
        ray.init(address=address or "local", **usual)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BadValue(
            f"no Ray cluster can be entered at {address or 'this machine'!r} ({in_one_line(error)}), "
            "expected HOST:PORT of its head, or auto",
            "--on ray:auto",
        ) from None
