"""JSON that may come from anybody: nothing in it is deeper, longer or less than a number may be."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

DEEPEST = 60
"""How many lists and objects may stand inside each other; what we write has a dozen."""


def parsed(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is no JSON, too deep, or holds NaN, infinity, half a character or a number of more
            digits than Python reads; in a few words.

    >>> parsed('{"a": [1, null]}')
    {'a': [1, None]}
    """
    try:
        found = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON at line {error.lineno}") from None
    except RecursionError:
        raise ValueError("too deep") from None
    except ValueError as error:
        raise ValueError(str(error).partition(";")[0]) from None
    if _depth(found) > DEEPEST:
        raise ValueError("too deep")
    if "\\ud" in text.lower() and any(map(_is_half, json.dumps(found, ensure_ascii=False))):
        raise ValueError("half a character")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    found = float(text)
    return found if math.isfinite(found) else _no_number(text[:20])


def _depth(found: object) -> int:
    """How many lists and objects stand inside each other, as far as it is allowed and one more."""
    level = [found]
    for depth in range(DEEPEST + 1):
        level = [
            inside
            for value in level
            for inside in (value.values() if type(value) is dict else value if type(value) is list else ())
            if type(inside) in (dict, list)
        ]
        if not level:
            return depth + 1
    return DEEPEST + 1


def _is_half(sign: str) -> bool:
    return "\ud800" <= sign <= "\udfff"
