"""Text of others as one line that does nothing where it is shown."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
"""They shape the letters of some scripts and change nothing else."""


def one_line(text: str) -> str:
    r"""The text without what moves a cursor, starts a line or turns the direction of writing.

    Controls and ends of lines become spaces, marks that nobody sees go, halves of characters become U+FFFD.

    >>> one_line("a\x1b[2Jb\nc\u202ed"), one_line("Cinà")
    ('a [2Jb cd', 'Cinà')
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(sign: str) -> str:
    match unicodedata.category(sign):
        case "Cc" | "Zl" | "Zp":
            return " "
        case "Cs":
            return "\ufffd"
        case "Cf" if sign not in _JOINERS:
            return ""
        case _:
            return sign
