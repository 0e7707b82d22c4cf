"""Tables that a terminal prints and a notebook draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.cli.board import width
from bench.report.html import html, lines
from bench.report.render import Table, terminal, values

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Shown:
    """What a command prints: tables, and sentences below them."""

    tables: tuple[Table, ...]
    sentences: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """The rows of all tables by the names of their CSV: fractions, and None where nothing is."""
        import pandas as pd

        return pd.DataFrame([row for table in self.tables for row in values(table)])

    def __str__(self) -> str:
        parts = [terminal(table, width()) for table in self.tables]
        return "\n".join([*parts, *self.sentences])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "\n".join([*map(html, self.tables), lines(self.sentences)])
