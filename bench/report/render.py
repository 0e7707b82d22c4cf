"""A table of typed cells as markdown, CSV or text for a terminal; percent exists only here."""

from __future__ import annotations

import csv as comma_separated
import io
import re
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from bench.core.paired import Difference
from bench.core.text import in_a_spreadsheet, one_line
from bench.records.record import Balanced, Interval
from bench.report.layout import drawn, fold, least, rooms_of, total
from bench.report.over_seeds import OverSeeds


class ColumnKind(Enum):
    """What the cells of a column hold, and so how they are written."""

    TEXT = "text"
    COUNT = "count"  # an int
    NUMBER = "number"  # a float, one decimal where people read
    SHARE = "share"  # a fraction; percent where people read
    POINTS = "points"  # a difference of fractions; signed points where people read
    INTERVAL = "interval"  # an Interval or Balanced; percent where people read, three columns in CSV
    DIFFERENCE = "difference"  # a Difference; signed points where people read, three columns in CSV


@dataclass(frozen=True)
class Marked:
    """A text with a mark that leads to a note; CSV holds the text alone."""

    text: str
    mark: str
    link: str | None = None  # where markdown leads from the text
    cite: str | None = None  # by which key LaTeX cites it


WEB = ("https://", "http://")
"""How a link begins that may be followed; any other may be a program."""

_THREE = (ColumnKind.INTERVAL, ColumnKind.DIFFERENCE)  # value, low, high in CSV

Cell = str | int | float | Interval | Balanced | Difference | OverSeeds | Marked | None
"""None is shown as a dash and is an empty field in CSV; a float among intervals is a share without one."""


@dataclass(frozen=True)
class TableColumn:
    """A column under two names: one to read and one to load."""

    title: str
    name: str
    kind: ColumnKind = ColumnKind.TEXT
    only_csv: bool = False
    dispensable: int = 0  # on a narrow terminal: the higher goes first, 0 never
    spare: bool = False  # on one where intervals have no room: goes before the others, the last of such first
    group: str | None = None  # what LaTeX writes once above it and its neighbours of the same group


@dataclass(frozen=True)
class Table:
    """Rows of cells, with what a reader must know before and after them."""

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[Cell, ...], ...]
    facts: tuple[tuple[str, str], ...] = ()  # (name, value), shown above
    notes: tuple[str, ...] = ()  # shown below
    quiet: frozenset[int] = frozenset()  # rows that are there for comparison: in italics
    commands: tuple[tuple[str, str], ...] = ()  # (what for, what to type), shown last, on one line each

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells, the table {len(self.columns)} columns")


def markdown(table: Table, comment: str | None = None) -> str:
    """GitHub's markdown, with every name escaped; the comment becomes the first line.

    >>> print(markdown(Table("t", (TableColumn("a|b", "a"),), (("x_y",),))), end="")
    # t
    <BLANKLINE>
    | a\\|b |
    | --- |
    | x\\_y |
    """
    shown = _shown(table)
    head = [column for column, _ in shown]
    lines = [f"<!-- {one_line(comment).replace('--', '- -')} -->", ""] if comment else []
    lines += [f"# {escape(table.title)}", ""]
    if table.facts:
        lines += [*(f"- {escape(name)}: {escape(value)}" for name, value in table.facts), ""]
    lines.append("| " + " | ".join(escape(column.title) for column in head) + " |")
    lines.append("| " + " | ".join("---" if c.kind is ColumnKind.TEXT else "---:" for c in head) + " |")
    for number, row in enumerate(table.rows):
        cells = [_escaped(column, row[place]) for column, place in shown]
        if number in table.quiet:
            cells = [cell if cell == "-" else f"*{cell}*" for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    if table.notes:
        lines += ["", *(f"- {escape(note)}" for note in table.notes)]
    if table.commands:
        lines += ["", *(f"- {escape(name)}: {_code(command)}" for name, command in table.commands)]
    return "\n".join(lines) + "\n"


def csv(table: Table) -> str:
    """One header line and plain values: fractions, never percent; nothing is rounded.

    Text that a spreadsheet would compute begins with an apostrophe.
    """
    text = io.StringIO()
    writer = comma_separated.writer(text, lineterminator="\n")
    writer.writerow(map(in_a_spreadsheet, _names(table)))
    for row in table.rows:
        writer.writerow("" if value is None else in_a_spreadsheet(value) for value in _values(table, row))
    return text.getvalue()


def values(table: Table) -> list[dict[str, str | int | float | None]]:
    """The rows by the names of CSV's columns, for scripts: plain values, fractions and None."""
    names = _names(table)
    return [dict(zip(names, _values(table, row), strict=True)) for row in table.rows]


def terminal(table: Table, width: int = 100) -> str:
    """Plain text of at most `width` characters a line, readable without colour; commands are never broken.

    Columns that hold nothing are left out. Where room is short, the dispensable ones go, then the bounds of
    intervals, then the others from the right, and a line below says which: no word is ever broken for them.
    """
    held = [
        _shown_as(column, [row[place] for row in table.rows])
        for column, place in _shown(table)
        if column.kind is not ColumnKind.TEXT or any(row[place] is not None for row in table.rows)
    ]
    shown, gone = _fitting(held, width)
    wanted = [max(map(len, [one.column.title, *one.cells])) if one.is_text else one.least for one in shown]
    rooms = rooms_of([one.least for one in shown], wanted, width)
    lines = [table.title, *(f"  {name}: {value}" for name, value in table.facts)]
    lines = [folded for line in lines for folded in fold(line, width, "    ")]
    lines += ["", *drawn([(one.column.title, one.cells, one.is_text) for one in shown], rooms)]
    notes = list(table.notes)
    if gone:
        notes.append(f"not shown for want of width: {', '.join(gone)}; a wider terminal or --json has all")
    lines += ["", *(folded for note in notes for folded in fold(f"- {note}", width, "  "))] if notes else []
    lines += ["", *(f"- {name}: {command}" for name, command in table.commands)] if table.commands else []
    return "\n".join(map(one_line, lines)) + "\n"


def escape(text: str) -> str:
    """Text that markdown and HTML show as it is, in one line.

    >>> escape("a|b & <i>_x_</i>")
    'a\\\\|b &amp; &lt;i&gt;\\\\_x\\\\_&lt;/i&gt;'
    """
    text = " ".join(one_line(text).split())
    for sign in "\\`*_[]|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def percent(interval: Interval | Balanced) -> str:
    """A share with its 95 % interval, as tables show it.

    >>> percent(Interval(0.451, 0.4199, 0.4823, 451, 1000))
    '45.1 [42.0, 48.2]'
    """
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def points(difference: Difference) -> str:
    """A difference of shares with its 95 % interval, in points with their sign.

    >>> points(Difference(3, 24, 1000, -0.0313, -0.0107))
    '-2.1 [-3.1, -1.1]'
    """
    value, low, high = (
        f"{round(100 * x, 1) + 0.0:+.1f}" for x in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]"


def read_cell(column: TableColumn, cell: Cell) -> str:
    """A cell as people read it."""
    if cell is None:
        return "-"
    if isinstance(cell, (Interval, Balanced)):
        return percent(cell)
    if isinstance(cell, Difference):
        return points(cell)
    if isinstance(cell, OverSeeds):
        return str(cell)
    if isinstance(cell, Marked):
        return one_line(f"{cell.text}{cell.mark}")
    if isinstance(cell, str):
        return one_line(cell)
    if column.kind is ColumnKind.COUNT:
        return f"{cell:,}"
    if column.kind is ColumnKind.POINTS:
        return f"{round(100 * cell, 1) + 0.0:+.1f}"
    return f"{100 * cell:.1f}" if column.kind in (ColumnKind.SHARE, *_THREE) else f"{cell:,.1f}"


def _code(command: str) -> str:
    """A command as a span of code in markdown, whatever is in it."""
    command = one_line(command)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"{fence} {command} {fence}" if "`" in command else f"`{command}`"


def _shown(table: Table) -> list[tuple[TableColumn, int]]:
    return [(column, place) for place, column in enumerate(table.columns) if not column.only_csv]


def _names(table: Table) -> list[str]:
    names: list[str] = []
    for column in table.columns:
        names.append(column.name)
        if column.kind in _THREE:
            names += [f"{column.name}_low", f"{column.name}_high"]
    return names


def _values(table: Table, row: tuple[Cell, ...]) -> list[str | int | float | None]:
    found: list[str | int | float | None] = []
    for column, cell in zip(table.columns, row, strict=True):
        if isinstance(cell, (Interval, Balanced, Difference)):
            found += [cell.value, cell.low, cell.high]
        else:
            found.append(_plain_value(cell))
            found += [None, None] if column.kind in _THREE else []
    return found


def _plain_value(cell: str | int | float | OverSeeds | Marked | None) -> str | int | float | None:
    """What CSV has of a cell without bounds: of several seeds their mean, without the deviation."""
    if isinstance(cell, Marked):
        return cell.text
    return cell.value if isinstance(cell, OverSeeds) else cell


def _escaped(column: TableColumn, cell: Cell) -> str:
    text = read_cell(column, cell)
    if column.kind in _THREE:
        return text
    if isinstance(cell, Marked) and cell.link and cell.link.startswith(WEB):
        link = "".join(
            sign for sign in cell.link if sign not in "<>|\\" and sign.isprintable() and sign != " "
        )
        return f"[{escape(cell.text)}](<{link}>)" + " " * cell.mark.startswith(" ") + escape(cell.mark)
    return escape(text)


@dataclass(frozen=True)
class _Shown:
    """A column as it is printed."""

    column: TableColumn
    cells: tuple[str, ...]

    @property
    def is_text(self) -> bool:
        """Whether it holds words, which begin at its left and may take several lines."""
        return self.column.kind is ColumnKind.TEXT

    @cached_property
    def least(self) -> int:
        """The width below which words or figures would break."""
        return max(least(self.column.title), *(map(least if self.is_text else len, self.cells)))

    @property
    def without_bounds(self) -> _Shown:
        """Its intervals as their values alone."""
        return _Shown(self.column, tuple(cell.partition(" [")[0] for cell in self.cells))


def _shown_as(column: TableColumn, cells: list[Cell]) -> _Shown:
    return _Shown(column, tuple(read_cell(column, cell) for cell in cells))


def _fitting(shown: list[_Shown], width: int) -> tuple[list[_Shown], list[str]]:
    """What of some columns has room, and the names of what has not, in their order."""
    left, gone = list(shown), []

    def too_wide() -> bool:
        return total([one.least for one in left]) > width

    while too_wide() and (worst := max(left, key=lambda one: one.column.dispensable)).column.dispensable:
        left.remove(worst)
    if too_wide() and (bounded := [one for one in left if one.column.kind in _THREE]):
        left = [one.without_bounds if one in bounded else one for one in left]
        gone.append("the bounds of intervals")
    while too_wide() and (spare := [one for one in left if one.column.spare]):
        left.remove(spare[-1])
    while too_wide() and len(left) > 1:
        left.pop()
    titles = [one.column.title for one in left]
    return left, [one.column.title for one in shown if one.column.title not in titles] + gone
