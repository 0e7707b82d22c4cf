"""Numbers as people type them, exact and bounded: no text of a few letters becomes a number of gigabytes."""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST = 400
"""Letters of a number; the longest fraction that a result holds has half as many."""

LARGEST = 2**63 - 1
"""The largest whole number that files of ours and torch hold."""

_EXACT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?|[+-]?\d+/\d+", re.ASCII)


def exact(text: str) -> Fraction:
    """The number that a text such as 8/255, 0.3 or 1e-3 is.

    >>> exact("8/255"), exact("1e-3")
    (Fraction(8, 255), Fraction(1, 1000))

    Raises:
        ValueError: it is no number, a division by zero, too long, or has an exponent of over three digits.
    """
    plain = text.strip()
    if len(plain) > LONGEST or _EXACT.fullmatch(plain) is None:
        raise ValueError("no number such as 8/255 or 0.3")
    try:
        return Fraction(plain)
    except ZeroDivisionError:
        raise ValueError("a division by zero") from None


def whole(text: str) -> int:
    """The whole number of at least 0 that a text is.

    >>> whole("200")
    200

    Raises:
        ValueError: it is none, or larger than LARGEST.
    """
    plain = text.strip()
    if not (plain.isascii() and plain.isdecimal() and len(plain) <= len(str(LARGEST))):
        raise ValueError("no whole number such as 200")
    found = int(plain)
    if found > LARGEST:
        raise ValueError(f"more than {LARGEST}")
    return found
