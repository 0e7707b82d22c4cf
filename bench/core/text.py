"""Text of others as one line that does nothing where it is shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_JOINERS = "\u200c\u200d"
"""They shape the letters of some scripts and change nothing else."""


def one_line(text: str) -> str:
    r"""The text without what moves a cursor, starts a line or turns the direction of writing.

    Controls and ends of lines become spaces, marks that nobody sees go, halves of characters become U+FFFD.

    >>> one_line("a\x1b[2Jb\nc\u202ed"), one_line("Cinà")
    ('a [2Jb cd', 'Cinà')
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def is_id(name: object) -> bool:
    """Whether it may be what `content_id` gave: so it is the name of a folder, and leads nowhere else.

    >>> is_id("0123456789ab"), is_id("../../x")
    (True, False)
    """
    return isinstance(name, str) and re.fullmatch(r"[0-9a-f]{12}", name) is not None


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["a", "b", "c"]), listed(["a"]), listed([])
    ('a, b and c', 'a', '')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def in_a_spreadsheet(value: T) -> T | str:
    """A value as a cell of CSV: text that a spreadsheet would compute begins with an apostrophe.

    >>> in_a_spreadsheet("=1+1"), in_a_spreadsheet("pgd_at"), in_a_spreadsheet(-0.5)
    ("'=1+1", 'pgd_at', -0.5)
    """
    if not isinstance(value, str) or (not value.startswith(("\t", "\r", "\n")) and _begins_plainly(value)):
        return value
    return f"'{value}"


def _begins_plainly(text: str) -> bool:
    """Whether no spreadsheet takes it for a formula, the wide signs of East Asian keyboards included."""
    return unicodedata.normalize("NFKC", text.lstrip()[:1]) not in ("=", "+", "-", "@")


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
