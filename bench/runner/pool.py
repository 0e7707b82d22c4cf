"""Workers of an engine, shared by all who have tasks: who is free gets the next, and what is lost goes on.

The driver's own work is done by one thread at a time, the one that has the turn; whoever waits for workers
lends it. So a sweep plays several runs at once, and each of them is written as if it were alone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

from bench.errors import BenchError
from bench.records.at_work import AtWork, Driver, forget, forget_the_gone, note
from bench.runner.assignment import Content
from bench.runner.wire import Answered, Lacks, Message, Raised, packed, unpacked

Task = TypeVar("Task")
Result = TypeVar("Result")

_NOTED = 2.0
"""Seconds between two notes of what workers do."""

HANDED_ON = 3
"""How often a lost worker's task is handed to another."""


class Seat(Protocol):
    """One worker of an engine, as the driver sees it; it answers one message after the other."""

    name: str

    def ask(self, message: bytes) -> Future[bytes]:
        """What it answers, when it does; the future holds an error that `lost` explains if it cannot."""

    def lost(self, error: BaseException) -> str | None:
        """How it was lost, in words that follow its name; None: it was not, and the error is another's."""

    def end(self) -> None:
        """Stop it, whatever it does; it is not asked again."""


class Engine(Protocol):
    """Where workers come from."""

    name: str  # as it is typed
    seats: int  # how many workers there are at most

    def seat(self, place: int) -> Seat:
        """Start a worker; it need not be there yet."""

    def close(self) -> None:
        """End what was started, besides seats."""


class WorkerLost(BenchError):
    """Workers were killed, as by a system that is short of memory, or died."""


class _InWorker(Exception):
    """Where in a worker an error came from."""


class PoolClosed(BaseException):
    """Whoever waits for a pool that was closed ends, and tells nobody: who closed it knows why."""


@dataclass(frozen=True)
class Errand(Generic[Task, Result]):
    """What tasks belong to, and what is to be known of them."""

    key: str  # of the assignment
    contents: Mapping[str, Content] = field(repr=False)
    rest: Callable[[Task, Result], Task | None]  # what is left of a task after its first result
    given_up: Callable[[Task, str], Result]  # what stands for a task that cost too many workers
    say: Callable[[str], object]


@dataclass
class Attempt(Generic[Task]):
    """A task, and how often a worker was lost at it."""

    task: Task
    losses: int = 0


@dataclass
class Post:
    """A seat, and what it is asked now."""

    seat: Seat
    by: str = ""  # which process, on which machine; empty: it is not there yet
    at: str = ""  # what it does, in words; empty: nothing
    done: int = 0  # answers with a result
    computed: float = 0.0  # seconds that it says it computed
    asked: float = 0.0  # seconds from question to answer, of these

    @property
    def named(self) -> str:
        """The worker in a few words."""
        return f"{self.seat.name} ({self.by})" if self.by else self.seat.name


class Pool:
    """The workers of one engine, started when there is something to do, and ended when it is closed."""

    def __init__(self, engine: Engine, root: Path | None = None) -> None:
        """`root`: the store where it is noted what its workers do."""
        self.engine, self._root = engine, root
        self._note: Path | None = None
        if root is not None:
            with suppress(OSError):  # nobody's result depends on it
                forget_the_gone(root)
        self._noted, self._since = 0.0, time.strftime("%Y-%m-%d %H:%M:%S")
        self.turn: threading.Lock | None = None  # set by who plays several at once
        self.posts: list[Post] = []
        self._starting: dict[Future[bytes], Post] = {}
        self._idle: deque[Post] = deque()
        self._bell = threading.Condition()
        self._rings, self._closed, self._failed_starts = 0, False, 0
        self._begun = 0
        self._retired: list[Post] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker; who still waits for one ends, too."""
        self._closed = True
        self.ring()
        for post in [*self.posts]:
            self.drop(post)
        self.engine.close()
        if self._note is not None:
            forget(self._note)
            self._note = None

    def play(self, errand: Errand[Task, Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Every result of every task, in the order in which they are done.

        Raises:
            WorkerLost: no worker can be started.
        """
        turns = _Turns(self, errand, iter(tasks))
        try:
            yield from turns.play()
        finally:
            turns.leave()

    def told(self) -> str:
        """What the workers did, in one sentence."""
        done = [post for post in (*self._retired, *self.posts) if post.done]
        computed = sum(post.computed for post in done)
        return (
            f"--on {self.engine.name}: {sum(post.done for post in done)} answers of {len(done)} "
            f"worker{'s' * (len(done) != 1)}, {computed:.1f} s of computing and "
            f"{sum(post.asked for post in done) - computed:.1f} s of waiting for the answers"
        )

    def idle(self) -> Post | None:
        """A worker that has nothing to do; it is the caller's until it is `free` again."""
        return self._idle.popleft() if self._idle else None

    def has_room(self) -> bool:
        """Whether another worker may be started."""
        return len(self.posts) < self.engine.seats

    def expects_one(self) -> bool:
        """Whether a worker is idle, starting, or may be started."""
        return bool(self._idle or self._starting) or self.has_room()

    @property
    def starting(self) -> int:
        """How many workers were started and have not answered yet."""
        return len(self._starting)

    def start(self) -> None:
        """One worker more."""
        seat = self.engine.seat(self._begun)
        self._begun += 1
        post = Post(seat, at="starting")
        self.posts.append(post)
        self._starting[self.ask(post, Message())] = post

    def ask(self, post: Post, message: Message) -> Future[bytes]:
        """Its answer; the bell rings when it is there."""
        future = post.seat.ask(packed(message))
        future.add_done_callback(lambda _: self.ring())
        return future

    def free(self, post: Post) -> None:
        """Somebody else may have this worker."""
        post.at = ""
        self._idle.append(post)
        self.ring()

    def drop(self, post: Post) -> None:
        """End a worker."""
        if post in self.posts:
            self.posts.remove(post)
            self._retired.append(post)
        if post in self._idle:
            self._idle.remove(post)
        post.at = ""
        post.seat.end()
        self.ring()

    def attend(self) -> None:
        """See who has come.

        Raises:
            WorkerLost: one after the other dies before it has answered anything.
        """
        if self._closed:
            raise PoolClosed
        self._tell()
        for future in [future for future in self._starting if future.done()]:
            post = self._starting.pop(future)
            error = _error_of(future)
            if error is None:
                self._failed_starts = 0
                post.by = cast(Answered, unpacked(future.result())).by
                self.free(post)
                continue
            how = post.seat.lost(error)
            self.drop(post)
            if how is None:
                raise error
            self._failed_starts += 1
            if self._failed_starts > HANDED_ON:
                raise WorkerLost(
                    f"{post.named} {how} before it could do anything, and {HANDED_ON} before it, expected "
                    f"workers of --on {self.engine.name} that start",
                    "--on here, which needs none",
                )

    def _tell(self) -> None:
        """Note what the workers do, now and then."""
        if self._root is None or time.monotonic() - self._noted < _NOTED:
            return
        self._noted = time.monotonic()
        workers = tuple(AtWork(post.named, post.at, post.done, post.computed) for post in self.posts)
        driver = Driver(self.engine.name, os.getpid(), socket.gethostname(), self._since, workers)
        with suppress(OSError):  # nobody's result depends on it
            self._note = note(self._root, driver)

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._bell:
            self._rings += 1
            self._bell.notify_all()

    @property
    def rings(self) -> int:
        """How often the bell rang: who looked before it rang again has missed nothing."""
        return self._rings

    def sleep(self, rings: int) -> None:
        """Wait until the bell rings again; others have the turn meanwhile."""
        turn = self.turn  # which may be another one, or none, at the end
        if turn is not None:
            turn.release()
        try:
            with self._bell:
                while self._rings == rings:
                    self._bell.wait(1.0)
        finally:
            if turn is not None:
                turn.acquire()
        if self._closed:
            raise PoolClosed


class _Turns(Generic[Task, Result]):
    """One errand's tasks on the workers of a pool."""

    def __init__(self, pool: Pool, errand: Errand[Task, Result], tasks: Iterator[Task]) -> None:
        self._pool, self._errand, self._tasks = pool, errand, tasks
        self._hand: deque[Attempt[Task]] = deque()  # asked for, and not begun
        self._running: dict[Future[bytes], tuple[Post, Attempt[Task], float]] = {}
        self._is_more = True

    def play(self) -> Iterator[Result]:
        while True:
            rings = self._pool.rings
            self._pool.attend()
            self._hand_out()
            if not self._running and not self._hand and not self._is_more:
                return
            done = [future for future in self._running if future.done()]
            for future in done:
                yield from self._settled(future)
            if not done:
                self._pool.sleep(rings)

    def leave(self) -> None:
        """Nobody waits for what is running any more."""
        for post, _, _ in self._running.values():
            self._pool.drop(post)
        self._running.clear()

    def _hand_out(self) -> None:
        """Tasks to who is free, and new workers for what waits."""
        pool = self._pool
        while self._hand or self._is_more:
            if self._hand and (post := pool.idle()) is not None:
                self._begin(post, self._hand.popleft())
            elif len(self._hand) > pool.starting and pool.has_room():
                pool.start()
            elif len(self._hand) > pool.starting or not self._take():
                return

    def _take(self) -> bool:
        """Ask for the next task, if somebody can compute it soon."""
        if not self._is_more or not self._pool.expects_one():
            return False
        for task in self._tasks:
            self._hand.append(Attempt(task))
            return True
        self._is_more = False
        return False

    def _begin(self, post: Post, attempt: Attempt[Task], lacked: Iterable[str] = ()) -> None:
        contents = {digest: self._errand.contents[digest]() for digest in lacked}
        post.at = str(attempt.task)
        message = Message(self._errand.key, packed(attempt.task), contents)
        self._running[self._pool.ask(post, message)] = post, attempt, time.monotonic()

    def _settled(self, future: Future[bytes]) -> Iterator[Result]:
        """What came of an answer: a result, what the worker lacked, or its loss."""
        post, attempt, began = self._running.pop(future)
        error = _error_of(future)
        if error is not None:
            yield from self._lost(post, attempt, error)
            return
        answer = unpacked(future.result())
        if isinstance(answer, Lacks):
            self._begin(post, attempt, answer.digests)
            return
        if isinstance(answer, Raised):
            self._pool.free(post)
            raise answer.error from _InWorker(f"{post.named}:\n{answer.told}")
        assert isinstance(answer, Answered)
        post.done, post.computed = post.done + 1, post.computed + answer.seconds
        post.asked += time.monotonic() - began
        result = cast(Result, unpacked(answer.result))
        rest = self._errand.rest(attempt.task, result)
        if rest is not None:
            self._begin(post, Attempt(rest))
        else:
            self._pool.free(post)
        yield result

    def _lost(self, post: Post, attempt: Attempt[Task], error: BaseException) -> Iterator[Result]:
        how = post.seat.lost(error)
        self._pool.drop(post)
        if how is None:
            raise error
        attempt.losses += 1
        told = f"{post.named} {how} at {attempt.task}"
        if attempt.losses <= HANDED_ON:
            self._errand.say(f"{told}: it is handed to another")
            self._hand.appendleft(attempt)
            return
        self._errand.say(f"{told}: it is given up")
        yield self._errand.given_up(
            attempt.task,
            f"{attempt.losses} workers were lost at {attempt.task}, the last because it {how}, expected "
            "memory and time enough for one",
        )


def _error_of(future: Future[bytes]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error
