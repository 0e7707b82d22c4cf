"""Who computes cells: this process, or workers that each hold the networks by themselves.

A `Work` says what is measured and can be sent to another process; opened there, it is a `Player` with the
networks ready, which computes one task after the other. Tasks need nothing of each other and are random by
their own seeds, so who computes them, when, and in which order changes no result (docs/adr/0008-workers.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Generic, Protocol, TypeVar

import torch

from bench.runner.assignment import assigned
from bench.runner.engines.named import HERE, engine_named
from bench.runner.options import Options
from bench.runner.pool import Errand, Pool, WorkerLost

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

    @property
    def spec(self) -> Any:
        """All that decides the results."""

    @property
    def weights(self) -> Mapping[str, str]:
        """Training -> SHA-256 of the weights that the driver measures."""

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


Rest = Callable[[Task, Result], Task | None]
GivenUp = Callable[[Task, str], Result]


def only_one(task: object, result: object) -> None:
    """What is left of a task that has one result: nothing."""


def raise_lost(task: object, why: str) -> Any:
    """What stands for a task that cannot be given up.

    Raises:
        WorkerLost: always.
    """
    raise WorkerLost(why, "the same command, which goes on from there; fewer workers if memory was short")


def executor(
    here: Callable[[], Player[Task, Result]],
    work: Work[Task, Result],
    options: Options,
    rest: Rest[Task, Result] = only_one,
    given_up: GivenUp[Task, Result] = raise_lost,
) -> Executor[Task, Result]:
    """What `--on` asks for: this process, whose player `here` makes, or workers that open the work.

    `rest` is what is left of a task after its first result, and `given_up` stands for the result of one at
    which too many workers were lost.
    """
    if options.pool is None and options.on == HERE:
        return InThisProcess(here())
    return OnWorkers(work, options, rest, given_up)


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


class OnWorkers(Generic[Task, Result]):
    """On the workers of the options' pool, or of one that is opened for this work alone."""

    def __init__(
        self,
        work: Work[Task, Result],
        options: Options,
        rest: Rest[Task, Result],
        given_up: GivenUp[Task, Result],
    ) -> None:
        held = assigned(work, options)
        self._errand = Errand(held.key, held.contents, rest, given_up, options.progress.say)
        self._options, self._stack = options, ExitStack()
        self._pool = options.pool

    def __enter__(self) -> OnWorkers[Task, Result]:
        if self._pool is None:
            self._pool = self._stack.enter_context(opened_pool(self._options))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Every result, in the order in which they are done.

        Raises:
            WorkerLost: no worker can be started, or a task that cannot be given up cost too many.
        """
        assert self._pool is not None
        return self._pool.play(self._errand, tasks)


def opened_pool(options: Options) -> Pool:
    """The workers of `--on`, which start when there is something to do.

    Raises:
        BenchError: there is no such engine, or what it is made of is not installed.
    """
    engine = engine_named(options.on, options)
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    if engine.name.startswith("local:") and engine.seats * threads > cores:
        options.progress.say(
            f"{engine.seats} workers with {threads} thread{'s' * (threads > 1)} each share {cores} cores; "
            "OMP_NUM_THREADS sets the threads, on which the last digits of results depend"
        )
    return Pool(engine, options.store.root)
