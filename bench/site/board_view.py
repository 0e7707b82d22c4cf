"""What a page shows of a board, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.threat import format_eps
from bench.records.record import Record
from bench.report.exchange import Published
from bench.report.setting import Setting
from bench.site.shares import Share

State = Literal["known", "not run", "not owed", "unknown"]

RANKED, CLEAN, LOWEST, BEST_KNOWN, PUBLISHED = "ranked", "clean", "lowest", "best_known", "published"
"""Columns that are no suites, by the names that CSV has for them."""

COSTS: Mapping[str, str] = {
    "parameters": "parameters",
    "forwards": "forwards",
    "backwards": "backwards",
    "seconds": "seconds",
    "training_seconds": "training s",
}
"""Columns that are shown on demand -> their titles."""


@dataclass(frozen=True)
class Head:
    """One column of a board behind rank and name; all of them hold numbers."""

    title: str
    name: str
    told: str = ""  # what it holds, in words
    is_suite: bool = False
    spent: bool = False  # a cost, shown on demand


@dataclass(frozen=True)
class PageCell:
    """One number of a board, or why there is none."""

    order: str = ""  # what it is sorted by; empty: last, either way
    share: Share | None = None
    text: str = ""
    href: str | None = None
    state: State = "known"
    bold: bool = False


@dataclass(frozen=True)
class PageRow:
    """One training on a board, with its records by suite; or what others published, without any."""

    key: str
    name: str  # that tells it from every other row
    defense: str
    mark: str
    href: str | None
    about: str  # architecture, seed, and the radius in training where it is another
    cells: tuple[PageCell, ...]
    records: Mapping[str, Record]
    findings: tuple[str, ...]  # as the board shows them: of records, of audits, of all suites together
    lowest: float | None  # the lowest share that is known
    published: Published | None = None


@dataclass(frozen=True)
class PageMethod:
    """The trainings that differ in their seed alone."""

    rank: int
    paper: str  # who and what
    venue: str  # and year; empty: not known apart
    link: str | None
    mean: PageRow | None  # over its seeds; None: it has one
    rows: tuple[PageRow, ...]

    @property
    def head(self) -> PageRow:
        """What stands for it."""
        return self.mean or self.rows[0]


@dataclass(frozen=True)
class NotRun:
    """A suite that a training was not put under."""

    anchor: str
    name: str
    suite: str
    command: str


@dataclass(frozen=True)
class BoardView:
    """One board."""

    stem: str
    place: Setting
    suites: tuple[str, ...]
    heads: tuple[Head, ...]
    methods: tuple[PageMethod, ...]
    others: tuple[PageRow, ...]  # published ones, never ranked
    notes: tuple[str, ...]
    not_run: tuple[NotRun, ...]
    weight: int  # verdicts behind it: images of each record, all together
    downloads: Mapping[str, str]  # the ending of a file -> its text

    @property
    def budget(self) -> str:
        """Norm and radius."""
        return f"{self.place.norm} {format_eps(self.place.eps)}"

    @property
    def rows(self) -> list[PageRow]:
        """Every training, in the order of methods."""
        return [row for method in self.methods for row in method.rows]

    @property
    def places(self) -> list[Located]:
        """Where each record of the board is found."""
        return [Located(record.run_id, self, row) for row in self.rows for record in row.records.values()]


@dataclass(frozen=True)
class Located:
    """A record's place on a board."""

    run_id: str
    board: BoardView
    row: PageRow
