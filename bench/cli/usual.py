"""`bench.toml` in the current folder: what one would type each time, and nothing that changes a result."""

from __future__ import annotations

import tomllib
from pathlib import Path

from bench.core.files import read_text, why
from bench.errors import BadData, BadValue, unknown

FILE = "bench.toml"

KEYS = ("store", "data_root", "device", "on")
"""The options that it may hold, by their names in Python."""


def usual_words(folder: Path) -> dict[str, str]:
    """Option -> text, of the file in a folder; empty: there is none.

    Raises:
        BadData: it cannot be read as TOML.
        BadValue, UnknownName: it holds another key, or no text.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        held = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise BadData(
            f"{FILE} cannot be read as TOML ({why(error)}), expected a line for each option", 'store = "runs"'
        ) from None
    for key, value in held.items():
        if key not in KEYS:
            raise unknown("key", key, KEYS, owner=FILE)
        if not isinstance(value, str) or not value:
            raise BadValue(f"{FILE}: {key} is {value!r}, expected a text", f'{key} = "..."')
    return held
