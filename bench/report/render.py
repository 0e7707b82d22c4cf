"""A table of typed cells as markdown, CSV or text for a terminal; percent exists only here."""

from __future__ import annotations

import csv as comma_separated
import io
from dataclasses import dataclass
from enum import Enum

from bench.records.record import Interval


class Kind(Enum):
    """What the cells of a column hold, and so how they are written."""

    TEXT = "text"
    COUNT = "count"  # an int
    NUMBER = "number"  # a float, one decimal where people read
    SHARE = "share"  # a fraction; percent where people read
    INTERVAL = "interval"  # an Interval; percent where people read, three columns in CSV


@dataclass(frozen=True)
class Marked:
    """A text with a mark that leads to a note; CSV holds the text alone."""

    text: str
    mark: str


Cell = str | int | float | Interval | Marked | None
"""None is shown as a dash and is an empty field in CSV."""


@dataclass(frozen=True)
class Column:
    """A column under two names: one to read and one to load."""

    title: str
    name: str
    kind: Kind = Kind.TEXT
    only_csv: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells, with what a reader must know before and after them."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    facts: tuple[tuple[str, str], ...] = ()  # (name, value), shown above
    notes: tuple[str, ...] = ()  # shown below

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells, the table {len(self.columns)} columns")


def markdown(table: Table, comment: str | None = None) -> str:
    """GitHub's markdown, with every name escaped; the comment becomes the first line.

    >>> print(markdown(Table("t", (Column("a|b", "a"),), (("x_y",),))), end="")
    # t
    <BLANKLINE>
    | a\\|b |
    | --- |
    | x\\_y |
    """
    shown = _shown(table)
    head = [column for column, _ in shown]
    lines = [f"<!-- {comment.replace('--', '- -')} -->", ""] if comment else []
    lines += [f"# {escape(table.title)}", ""]
    if table.facts:
        lines += [*(f"- {escape(name)}: {escape(value)}" for name, value in table.facts), ""]
    lines.append("| " + " | ".join(escape(column.title) for column in head) + " |")
    lines.append("| " + " | ".join("---" if c.kind is Kind.TEXT else "---:" for c in head) + " |")
    for row in table.rows:
        lines.append("| " + " | ".join(_escaped(c, row[place]) for c, place in shown) + " |")
    if table.notes:
        lines += ["", *(f"- {escape(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def csv(table: Table) -> str:
    """One header line and plain values: fractions, never percent; nothing is rounded."""
    text = io.StringIO()
    writer = comma_separated.writer(text, lineterminator="\n")
    header: list[str] = []
    for column in table.columns:
        header.append(column.name)
        if column.kind is Kind.INTERVAL:
            header += [f"{column.name}_low", f"{column.name}_high"]
    writer.writerow(header)
    for row in table.rows:
        values: list[object] = []
        for column, cell in zip(table.columns, row, strict=True):
            if column.kind is Kind.INTERVAL:
                interval = cell if isinstance(cell, Interval) else None
                values += [interval.value, interval.low, interval.high] if interval else ["", "", ""]
            else:
                values.append("" if cell is None else cell.text if isinstance(cell, Marked) else cell)
        writer.writerow(values)
    return text.getvalue()


def terminal(table: Table, width: int = 100) -> str:
    """Plain text at most `width` characters wide; long words are folded, nothing is cut off."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    plain = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    grid = Grid(box=plain, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    shown = _shown(table)
    for column, _ in shown:
        grid.add_column(
            column.title, justify="left" if column.kind is Kind.TEXT else "right", overflow="fold"
        )
    for row in table.rows:
        grid.add_row(*(_read(column, row[place]) for column, place in shown))
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        color_system=None,
        force_terminal=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(table.title)
    for name, value in table.facts:
        console.print(f"  {name}: {value}")
    console.print()
    console.print(grid)
    if table.notes:
        console.print()
    for note in table.notes:
        console.print(f"- {note}")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def escape(text: str) -> str:
    """Text that markdown and HTML show as it is, in one line.

    >>> escape("a|b & <i>_x_</i>")
    'a\\\\|b &amp; &lt;i&gt;\\\\_x\\\\_&lt;/i&gt;'
    """
    text = " ".join(text.split())
    for sign in "\\`*_[]|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def percent(interval: Interval) -> str:
    """A share with its 95 % interval, as tables show it.

    >>> percent(Interval(0.451, 0.4199, 0.4823, 451, 1000))
    '45.1 [42.0, 48.2]'
    """
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _shown(table: Table) -> list[tuple[Column, int]]:
    return [(column, place) for place, column in enumerate(table.columns) if not column.only_csv]


def _read(column: Column, cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, Interval):
        return percent(cell)
    if isinstance(cell, Marked):
        return f"{cell.text}{cell.mark}"
    if isinstance(cell, str):
        return cell
    if column.kind is Kind.COUNT:
        return f"{cell:,}"
    return f"{100 * cell:.1f}" if column.kind is Kind.SHARE else f"{cell:,.1f}"


def _escaped(column: Column, cell: Cell) -> str:
    text = _read(column, cell)
    return text if column.kind is Kind.INTERVAL else escape(text)
