"""Results that are no runs, each one JSON file, written whole and read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from bench.core.files import read_bytes
from bench.core.json_file import json_of
from bench.errors import BadData
from bench.records.arrays import Arrays, unpacked
from bench.records.files import write_atomically
from bench.records.seal import check, sealed, unsealed

T = TypeVar("T")


def to_json(found: object) -> str:
    """A dataclass as indented JSON with its digest, and a newline at the end."""
    assert is_dataclass(found)
    return sealed(asdict(cast(Any, found)))


def write(path: Path, found: object) -> None:
    """The file: it exists = it is complete."""
    write_atomically(path, to_json(found).encode())


def sha256(content: bytes) -> str:
    """What a record holds of a file that lies beside it."""
    return hashlib.sha256(content).hexdigest()


def beside(path: Path, digest: str, unpack: Callable[[Arrays], T], again: str) -> T:
    """What `unpack` makes of the arrays in a file beside a record, which holds its digest.

    Raises:
        BadData: it is missing, damaged, or not the record's.
    """
    try:
        content = read_bytes(path)
        if sha256(content) != digest:
            raise ValueError("it is not the file that the record names")
        return unpack(unpacked(content))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadData(f"{path} cannot be read ({error}), expected the arrays of its record", again) from None


def read(path: Path, kind: type[T], schema: int, again: str) -> T | None:
    """What a file holds; None: there is none. `again` is what to type where it is damaged.

    Raises:
        BadData: it is unreadable, of another schema, or has a field too many, too few or of the wrong type.
    """
    if not path.is_file():
        return None
    data = json_of(path, f"a {kind.__name__.lower()}", again)
    held = data.get("schema") if isinstance(data, dict) else None
    if held != schema:
        raise BadData(f"{path} has schema {held!r}, expected {schema}", again)
    try:
        found = TypeAdapter(kind).validate_python(unsealed(data))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        what = kind.__name__.lower()
        raise BadData(f"{path} is no valid {what} at {place}: {problem['msg']}", again) from None
    check(data, str(path), again)
    return found
