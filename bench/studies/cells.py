"""The cells of a study: arrays of one column on one chunk, from the store or from whoever computes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.errors import BadData
from bench.records.store import Arrays, RunFolder
from bench.runner.executors import Executor
from bench.runner.options import Options


@dataclass(frozen=True)
class CellTask:
    """One cell to compute: a column of a part on one chunk."""

    part: str
    column: str
    number: int  # of the chunk
    given: tuple[Arrays, ...] = ()  # the cells of the same chunk that it goes on from

    def __str__(self) -> str:
        return f"{self.column} on chunk {self.number}"


@dataclass(frozen=True)
class Done:
    """A computed cell."""

    part: str
    column: str
    number: int
    arrays: Arrays
    seconds: float


class Cells:
    """What is computed is stored at once, so a study that was stopped goes on."""

    def __init__(
        self,
        folders: Mapping[str, RunFolder],
        sizes: Sequence[int],
        executor: Executor[CellTask, Done],
        options: Options,
    ) -> None:
        self._folders, self._sizes = folders, sizes
        self._executor, self._options = executor, options
        self._only = next(iter(folders))
        self._seconds: dict[tuple[str, str], float] = {}
        self._whole: set[str] = set()

    def make(
        self,
        columns: Sequence[str],
        after: Sequence[str] = (),
        parts: Sequence[str] = (),
        *,
        whole: bool = False,
    ) -> None:
        """See to it that all cells of these columns are stored; each is given those of `after`, made before.

        Columns and parts of one call need nothing of each other; without parts, it is of the only one. The
        `whole` ones are of no chunk: one cell, which every chunk of a column that comes after it is given.
        """
        self._whole.update(columns if whole else ())
        for done in self._executor.play(self._missing(columns, after, parts or [self._only])):
            self._folders[done.part].keep(done.column, done.number, done.arrays, done.seconds)
            self._count(done.part, done.column, done.number, done.seconds)

    def read(self, column: str, part: str | None = None) -> Iterator[Arrays]:
        """The arrays of a column that was made, chunk by chunk."""
        for number in self._numbers(column):
            yield self._held(self._only if part is None else part, column, number)

    def seconds(self, *columns: str) -> float:
        """What computing took, now or before; without columns, of all that were made."""
        return sum(took for (_, column), took in self._seconds.items() if not columns or column in columns)

    def _missing(
        self, columns: Sequence[str], after: Sequence[str], parts: Sequence[str]
    ) -> Iterator[CellTask]:
        for part, column in itertools.product(parts, columns):
            for number in self._numbers(column):
                found = self._folders[part].held(column, number)
                if found is not None:
                    self._count(part, column, number, found[1])
                    continue
                given = tuple(self._held(part, name, 0 if name in self._whole else number) for name in after)
                yield CellTask(part, column, number, given)

    def _held(self, part: str, column: str, number: int) -> Arrays:
        found = self._folders[part].held(column, number)
        if found is None:
            raise BadData(
                f"the cell {column}/{number} of {part} cannot be read, expected what was just stored",
                "the same command again, which computes it anew",
            )
        return found[0]

    def _count(self, part: str, column: str, number: int, seconds: float) -> None:
        self._seconds[part, column] = self._seconds.get((part, column), 0.0) + seconds
        self._options.progress.advance(0 if column in self._whole else self._sizes[number])

    def _numbers(self, column: str) -> range:
        return range(1 if column in self._whole else len(self._sizes))
