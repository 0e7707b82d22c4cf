"""Results that are no runs, each one JSON file, written whole and read strictly."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.lib.npyio import NpzFile
from pydantic import TypeAdapter

from bench.errors import BadData
from bench.records.reading import json_of, require_sound, validated
from bench.records.store import write_atomically
from bench.records.upgrades import Upgrade, upgraded

T = TypeVar("T")

NO_UPGRADES: Mapping[int, Upgrade] = MappingProxyType({})


def to_json(found: object) -> str:
    """A dataclass as indented JSON, with a newline at the end."""
    assert is_dataclass(found)
    data = asdict(cast(Any, found))
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write(path: Path, found: object) -> None:
    """The file: it exists = it is complete."""
    write_atomically(path, to_json(found).encode())


def sha256(content: bytes) -> str:
    """What a record holds of a file that lies beside it."""
    return hashlib.sha256(content).hexdigest()


def beside(path: Path, digest: str, unpack: Callable[[NpzFile], T], again: str) -> T:
    """What `unpack` makes of the arrays in a file beside a record, which holds its digest.

    Raises:
        BadData: it is missing, damaged, or not the record's.
    """
    try:
        content = path.read_bytes()
        if sha256(content) != digest:
            raise ValueError("it is not the file that the record names")
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            return unpack(held)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadData(f"{path} cannot be read ({error}), expected the arrays of its record", again) from None


def read(
    path: Path,
    kind: type[T],
    schema: int,
    again: str,
    upgrades: Mapping[int, Upgrade] = NO_UPGRADES,
    contradictions: Callable[[T], Iterable[str]] = lambda _: (),
) -> T | None:
    """What a file holds; None: there is none. `again` is what to type where it is damaged.

    Older schemas are brought up to `schema` by `upgrades`.

    Raises:
        BadData: it is unreadable, of a newer bench, has a field too many, too few or of the wrong type, or
            contradicts itself.
    """
    if not path.is_file():
        return None
    what, origin = kind.__name__.lower(), str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path} cannot be read ({error}), expected a {what}", again) from None
    data = upgraded(json_of(text, origin, what, again), schema, upgrades, origin, what)
    found: T = validated(data, _adapter(kind), origin, what, again)  # type: ignore[arg-type]
    require_sound(contradictions(found), origin, what, again)
    return found


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # costs more to build than many results to read
