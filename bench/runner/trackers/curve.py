"""The curve of a training for its tracker, read from the log that the training keeps."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from bench.core.files import read_text
from bench.core.progress import Progress
from bench.runner.trackers.guard import Untracked
from bench.runner.trackers.hook import TrackedWork


class LogInProgress:
    """The rows of a training's log.csv, each told once."""

    def __init__(self, tracking: Untracked, work: TrackedWork, log: Path) -> None:
        self._tracking, self._work, self._log = tracking, work, log
        self._told = 0

    def tell(self) -> None:
        """What has come since the last time; steps count epochs through all stages."""
        for row in self._rows()[self._told :]:
            self._told += 1
            self._tracking.figures(self._work, self._told, row)

    def _rows(self) -> list[dict[str, float]]:
        try:
            rows = csv.DictReader(io.StringIO(read_text(self._log)))
            return [{name: float(value) for name, value in row.items() if value} for row in rows]
        except (OSError, ValueError):  # not there yet, or damaged, which is told by who needs it
            return []


class Followed:
    """Progress as it was, and `look` is called whenever some is made."""

    def __init__(self, progress: Progress, look: Callable[[], None]) -> None:
        self._progress, self._look = progress, look

    def start(self, title: str, total: int, unit: str, done: int = 0) -> None:
        """See Progress."""
        self._progress.start(title, total, unit, done)

    def advance(self, amount: int = 1, **figures: float) -> None:
        """See Progress."""
        self._progress.advance(amount, **figures)
        self._look()

    def say(self, message: str) -> None:
        """See Progress."""
        self._progress.say(message)

    def finish(self) -> None:
        """See Progress."""
        self._progress.finish()
        self._look()
