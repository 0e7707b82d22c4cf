"""Where text goes on a terminal: how wide columns are, and where lines break."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

JOINTS = "-_/@=,[+"
"""Behind these a long name may break."""

GAP = "  "
"""What separates columns on a terminal."""


def total(rooms: list[int]) -> int:
    """How wide a line of columns of these widths is."""
    return sum(rooms) + len(GAP) * (len(rooms) - 1)


def rooms_of(least: list[int], wanted: list[int], width: int) -> list[int]:
    """A width for each column, at least the least if that fits; whoever lacks little gets all that it wants.

    >>> rooms_of([4, 6], [9, 9], 16)
    [5, 9]
    """
    rooms = list(least)
    while total(rooms) > width and max(rooms) > 1:
        rooms[rooms.index(max(rooms))] -= 1
    while total(rooms) < width:
        narrow = [place for place, room in enumerate(rooms) if room < wanted[place]]
        if not narrow:
            break
        rooms[min(narrow, key=lambda place: wanted[place] - rooms[place])] += 1
    return rooms


def drawn(columns: Sequence[tuple[str, Sequence[str], bool]], rooms: Sequence[int]) -> list[str]:
    """The lines of a table without colours: titles at the bottom of their row, and a rule below them.

    A column is its title, its cells, and whether they begin at its left; `rooms` is how wide each is. Words
    that are too long for it break at their joints.

    >>> drawn([("name", ["pgd_at", "x"], True), ("clean %", ["95.0", "-"], False)], [6, 7])
    ['name    clean %', '---------------', 'pgd_at     95.0', 'x             -']
    """
    texts = [
        [jointed(cell, room) for cell in cells] for (_, cells, _), room in zip(columns, rooms, strict=True)
    ]
    left = [left for _, _, left in columns]
    titles = [jointed(title, room) for (title, _, _), room in zip(columns, rooms, strict=True)]
    lines = _broken(titles, [], left, rooms)
    for fit, some in groupby(zip(*texts, strict=True), key=lambda row: _fits(row, rooms)):
        rows = list(some)
        lines += [_line(row, left, rooms) for row in rows] if fit else _broken(None, rows, left, rooms)
    return lines


def _fits(row: Sequence[str], rooms: Sequence[int]) -> bool:
    """Whether no text has to be broken; of what is not ASCII, letters may be wider than one."""
    return all(len(text) <= room and text.isascii() for text, room in zip(row, rooms, strict=True))


def _line(row: Sequence[str], left: Sequence[bool], rooms: Sequence[int]) -> str:
    """A row in which nothing has to be broken: most are such, and tables of all pairs have a million."""
    cells = zip(row, left, rooms, strict=True)
    return GAP.join(
        text.ljust(room) if is_left else text.rjust(room) for text, is_left, room in cells
    ).rstrip()


def _broken(
    titles: Sequence[str] | None, rows: Sequence[Sequence[str]], left: Sequence[bool], rooms: Sequence[int]
) -> list[str]:
    """The lines of titles and a rule, or of rows, whose words are broken where they are too long."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    ruled = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    padding = (0, len(GAP) - 1, 0, 0)
    table = Table(box=ruled, show_edge=False, show_header=titles is not None, pad_edge=False, padding=padding)
    for title, is_left, room in zip(titles or [""] * len(rooms), left, rooms, strict=True):
        table.add_column(Text(title), width=room, justify="left" if is_left else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=total(list(rooms)), color_system=None, force_terminal=False).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def fold(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a text, later ones indented; in a cell, names too long for it break at their joints.

    >>> fold("dbp_teacher_adversarial [5]", 15)
    ['dbp_teacher_', 'adversarial [5]']
    """
    text = text if indent else jointed(text, width)
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


@lru_cache(maxsize=10_000)
def least(text: str, enough: int = 16) -> int:
    """The width below which words of a text would break; longer ones than is enough break at joints.

    >>> least("dbp_teacher_adversarial [5]"), least("dbp_teacher"), least("incomprehensibilities")
    (16, 11, 21)
    """
    words = text.split()
    pieces = [piece for word in words for piece in re.split(f"(?<=[{re.escape(JOINTS)}])", word)]
    return max([1, *map(len, pieces), *(min(len(word), enough) for word in words)])


def jointed(text: str, width: int) -> str:
    """A text whose words are at most that long: longer names have spaces where their joints are."""
    return " ".join(_pieces(word, width) for word in text.split())


def _pieces(word: str, width: int) -> str:
    """A word that is too long, with spaces where names have their joints."""
    pieces = []
    while len(word) > width:
        cut = max(word[:width].rfind(sign) for sign in JOINTS) + 1 or width
        pieces.append(word[:cut])
        word = word[cut:]
    return " ".join([*pieces, word])
