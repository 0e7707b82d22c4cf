"""Networks of others that a store holds already, by the names that commands give them."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from bench.api import Defense
from bench.errors import BadCheckpoint


@dataclass(frozen=True)
class AtHand:
    """A network of others whose files need not be typed again."""

    label: str
    defense: Defense
    architecture: str
    sha256: str  # of the file of weights
    path: Path | None  # where that file lies; None: it is not where it was
    trainings: frozenset[str]  # ids under which the store holds its weights

    def require(self, training_id: str) -> None:
        """Raise BadCheckpoint unless the store holds these weights under that id, or their file is there."""
        if self.path is None and training_id not in self.trainings:
            raise BadCheckpoint(
                f"the file of {self.label}'s weights is not where it was, expected it, because no run "
                "judged it on these data before",
                f"bench run --defense loaded --checkpoint FILE --label {self.label}",
            )


class Shelf:
    """Finds networks by name, and knows those that it found by what they are."""

    def __init__(self, find: Callable[[str], AtHand | None]) -> None:
        self._find = find
        self._taken: dict[Defense, AtHand] = {}

    def named(self, name: str) -> AtHand | None:
        """The network that a name means; None: it means none of them.

        Raises:
            BenchError: it may be several, or the code that makes it is gone.
        """
        found = self._find(name)
        if found is not None:
            self._taken[found.defense] = found
        return found

    def take(self, network: AtHand) -> None:
        """Know a variant of a network, too."""
        self._taken[network.defense] = network

    def given(self, defense: Defense) -> AtHand | None:
        """The network behind a defense that came out of this shelf; None: it did not."""
        return self._taken.get(defense)


_EMPTY = Shelf(lambda name: None)
_HERE: ContextVar[Shelf] = ContextVar("shelf", default=_EMPTY)


def open_shelf(shelf: Shelf) -> None:
    """From now on names are looked up there, in this thread."""
    _HERE.set(shelf)


def shelf() -> Shelf:
    """Where names are looked up; an empty one until somebody opens another."""
    return _HERE.get()
