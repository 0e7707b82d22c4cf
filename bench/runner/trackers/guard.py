"""Between the work and its tracker: it is never waited for, and its failure is one sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue

from bench.core.text import one_line
from bench.errors import BenchError
from bench.runner.trackers.hook import TrackedWork, Tracker
from bench.runner.trackers.named import tracker_named

PATIENCE = 30.0
"""Seconds that the end of a command waits for a tracker."""

Say = Callable[[str], None]


class Untracked:
    """Nobody is told."""

    listens = False

    def begin(self, work: TrackedWork) -> None:
        """Nobody is told."""

    def figures(self, work: TrackedWork, step: int, values: Mapping[str, float]) -> None:
        """Nobody is told."""

    def end(self, work: TrackedWork, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """Nobody is told."""


class Tracking(Untracked):
    """Tells a tracker in a thread of its own, until the tracker fails."""

    listens = True

    def __init__(self, name: str, tracker: Tracker, say: Say) -> None:
        self._name, self._tracker, self._say = name, tracker, say
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._failure: str | None = None
        self._is_told = False
        self._open: set[str] = set()
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def begin(self, work: TrackedWork) -> None:
        """See Tracker; of work that has begun already, nothing."""
        if work.id not in self._open:
            self._open.add(work.id)
            self._put(partial(self._tracker.begin, work))

    def figures(self, work: TrackedWork, step: int, values: Mapping[str, float]) -> None:
        """See Tracker."""
        self._put(partial(self._tracker.figures, work, step, values))

    def end(self, work: TrackedWork, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """See Tracker."""
        self._open.discard(work.id)
        self._put(partial(self._tracker.end, work, values, texts))

    def close(self) -> None:
        """Wait for what is under way, but not for ever."""
        self._put(self._tracker.close)
        self._calls.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive() and self._failure is None:
            self._failure = f"it did not take everything within {PATIENCE:g} s"
        self._tell_failure()

    def _put(self, call: Callable[[], None]) -> None:
        self._tell_failure()
        if self._failure is None:
            self._calls.put(call)

    def _deliver(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:
                self._failure = told(error)
                return

    def _tell_failure(self) -> None:
        if self._failure is not None and not self._is_told:
            self._is_told = True
            self._say(failed(self._name, self._failure))


def told(error: Exception) -> str:
    """An error of a tracker in one line."""
    return one_line(f"{type(error).__name__}: {error}")[:300]


def failed(name: str, why: str) -> str:
    """That nothing more is tracked, in one sentence."""
    return f"the tracker {name} failed ({why}); nothing more is tracked, and the work goes on"


@contextmanager
def tracked(text: str | None, say: Say) -> Iterator[Untracked]:
    """What tells the tracker that `--track` names, for all that is done inside; None: nobody.

    Raises:
        BenchError: there is no such tracker, or what it is made of is not installed.
    """
    if text is None:
        yield Untracked()
        return
    name = text.partition(":")[0]
    try:
        tracker = tracker_named(text)
    except BenchError:
        raise
    except Exception as error:
        say(failed(name, told(error)))
        yield Untracked()
        return
    tracking = Tracking(name, tracker, say)
    try:
        yield tracking
    finally:
        tracking.close()
