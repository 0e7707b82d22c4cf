"""Results that are no runs, each one JSON file, written whole and read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from bench.core.files import read_bytes, read_text, why
from bench.core.json_file import MOST
from bench.core.text import is_id
from bench.errors import BadData
from bench.records.arrays import Arrays, unpacked
from bench.records.files import write_atomically
from bench.records.reading import one_line_each, parsed_json, require_sound, validated
from bench.records.seal import check, sealed, unsealed
from bench.records.upgrades import Upgrade, upgraded

T = TypeVar("T")

NO_UPGRADES: Mapping[int, Upgrade] = MappingProxyType({})


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


def require_own(ident: str, path: Path, again: str) -> None:
    """A result in a folder that is named by an id is that id's: a file of another is never taken for it.

    Raises:
        BadData: it is another's.
    """
    name = path.parent.name
    if is_id(name) and name != ident:
        raise BadData(f"{path} holds the result {ident}, expected that of {name}", again)


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
        text = read_text(path, MOST)
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path} cannot be read ({why(error)}), expected a {what}", again) from None
    held = parsed_json(text, origin, what, again)
    data = upgraded(one_line_each(unsealed(held), text), schema, upgrades, origin, what)
    found: T = validated(data, _adapter(cast(Any, kind)), origin, what, again)
    require_sound(contradictions(found), origin, what, again)
    check(held, origin, again)
    return found


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # costs more to build than many results to read
