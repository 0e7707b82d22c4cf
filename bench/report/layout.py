"""Where text goes on a terminal: how wide columns are, and where lines break."""

from __future__ import annotations

import textwrap

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


def fold(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a text, later ones indented; in a cell, names too long for it break at their joints.

    >>> fold("dbp_teacher_adversarial [5]", 15)
    ['dbp_teacher_', 'adversarial [5]']
    """
    text = " ".join(_pieces(word, width) for word in text.split()) if not indent else text
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _pieces(word: str, width: int) -> str:
    """A word that is too long, with spaces where names have their joints."""
    pieces = []
    while len(word) > width:
        joint = max(word[:width].rfind(sign) for sign in "-_/@=") + 1
        cut = joint if joint > width // 3 else width
        pieces.append(word[:cut])
        word = word[cut:]
    return " ".join([*pieces, word])
