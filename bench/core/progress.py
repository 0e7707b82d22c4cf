"""How long work tells how far it is; the command line draws it, everything else stays silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A place to report work that takes more than a few seconds."""

    def start(self, title: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a piece of work of `total` units, of which `done` were done before (a resumed run)."""

    def advance(self, amount: int = 1, **figures: float) -> None:
        """Some units are done; figures such as loss=0.31 are shown beside the bar."""

    def say(self, message: str) -> None:
        """One sentence worth reading, such as what was found in the cache."""

    def finish(self) -> None:
        """This piece of work is over."""


class Silent:
    """Reports nothing."""

    def start(self, title: str, total: int, unit: str, done: int = 0) -> None:
        """Nothing is drawn."""

    def advance(self, amount: int = 1, **figures: float) -> None:
        """Nothing is drawn."""

    def say(self, message: str) -> None:
        """Nothing is said."""

    def finish(self) -> None:
        """Nothing was drawn."""


_: Progress = Silent()
