"""The one reader of JSON that files hold: strict, bounded, and of one meaning.

Python's own reader takes NaN, keeps the last of two equal keys, makes integers of any length and infinities
of large numbers; each of these would be read otherwise by somebody else, or break what comes after.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.files import read_bytes, why
from bench.errors import BadData

MOST = 1 << 28
"""Bytes of a file of JSON: the largest of ours have a thousandth of it."""

DEPTH = 100
"""How many lists and tables may lie within each other."""

DIGITS = 20
"""Of an integer; 64 bits have no more."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJSON(ValueError):
    """A text that is no JSON as everybody reads it."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, which has one meaning and bounded numbers and depth.

    Raises:
        NotJSON: with the reason, as the end of a sentence.

    >>> parse_json('{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    """
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text
        found = _DECODER.decode(plain)
    except NotJSON:
        raise
    except UnicodeDecodeError:
        raise NotJSON("it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJSON(f"it is not JSON: {_fault(error)} in line {error.lineno}") from None
    except RecursionError:
        raise NotJSON(_TOO_DEEP) from None
    _check_depth(found)
    if _SURROGATE.search(plain):
        _check_text(found)
    return found


def read_json(path: Path) -> Any:
    """The value in a file of JSON.

    Raises:
        OSError: there is no regular file, or it is too large.
        NotJSON: it holds something else.
    """
    return parse_json(read_bytes(path, MOST))


def json_of(path: Path, expected: str, hint: str | None = None) -> Any:
    """The same for files that a user named; `expected` is what should be there.

    Raises:
        BadData: it cannot be read.
    """
    try:
        return read_json(path)
    except (OSError, NotJSON) as error:
        raise BadData(f"{path} cannot be read ({why(error)}), expected {expected}", hint) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotJSON(f"it gives {_short(_twice(name for name, _ in pairs))} twice")
    return found


def _twice(names: Iterator[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS:
        raise NotJSON(f"it has an integer of {len(text.lstrip('-'))} digits, more than {DIGITS}")
    return int(text)


def _number(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise NotJSON(f"it has the number {_short(text)}, which is no finite number here")
    return found


def _constant(text: str) -> float:
    raise NotJSON(f"it has {text}, which is no number in JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=_integer, parse_float=_number, parse_constant=_constant
)

_TOO_DEEP = f"it has lists and tables more than {DEPTH} deep"


def _check_depth(found: Any) -> None:
    layer = [found]
    for _ in range(DEPTH):
        layer = [item for held in layer for item in _within(held)]
        if not layer:
            return
    raise NotJSON(_TOO_DEEP)


def _within(held: Any) -> Iterator[Any]:
    """The lists and tables directly in a list or a table."""
    items = held.values() if isinstance(held, dict) else held if isinstance(held, list) else ()
    return (item for item in items if isinstance(item, (dict, list)))


def _check_text(found: Any) -> None:
    """Half of a pair of escapes is a letter that no file and no terminal takes."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJSON("it has half of a surrogate pair, which is no letter") from None


def _fault(error: json.JSONDecodeError) -> str:
    return (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
