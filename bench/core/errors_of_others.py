"""What code of others raised, in one line that says where."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

LONGEST = 200
"""How many characters of an error's text are told."""

_OURS = Path(__file__).parents[2]


def in_one_line(error: BaseException) -> str:
    """The error, with the file and line of others' code that raised it, as far as it passed through any.

    >>> in_one_line(ValueError("not so"))
    'ValueError: not so'
    """
    text = " ".join(str(error).split()).removesuffix(".")
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    name = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = place_of(error)
    return f"{name}, in {place}" if place else name


def place_of(error: BaseException) -> str | None:
    """The last line of others' code that an error passed through: neither ours, nor torch's, nor Python's."""
    frames = traceback.extract_tb(error.__traceback__)
    found = [frame for frame in frames if not _is_common(frame.filename)]
    return f"{Path(found[-1].filename).name}, line {found[-1].lineno}" if found else None


def _is_common(file: str) -> bool:
    if file.startswith("<"):
        return True
    parents = Path(file).parents
    in_python = Path(traceback.__file__).parent in parents and "site-packages" not in Path(file).parts
    return in_python or any(folder in parents for folder in _common())


def _common() -> list[Path]:
    torch = sys.modules.get("torch")
    return [_OURS / "bench", _OURS / "defenses", *([Path(str(torch.__file__)).parent] if torch else [])]
