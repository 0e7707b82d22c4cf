"""Records from their files, read strictly, older ones with what follows from what they hold.

Whatever else a file says, what is read is one line of text, a number in its range, or refused with its place.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bench.core.json_file import NotJSON, parse_json
from bench.core.text import one_line
from bench.errors import BadData
from bench.records.follow_ups import noted
from bench.records.record import SCHEMA, Record
from bench.records.recount import contradictions
from bench.records.resolved import run_contradiction
from bench.records.seal import check, unsealed
from bench.records.upgrades import Upgrade, upgraded

T = TypeVar("T")

UPGRADES: Mapping[int, Upgrade] = {}
"""Schema -> what makes the next of it; there is one schema so far, whose later fields may be missing."""


def from_json(text: str, origin: str = "the record") -> Record:
    """Read a record strictly, and count again what it says twice; see bench.records.recount.

    Of an older one, what its columns met and broke is worked out; see bench.records.follow_ups.

    Raises:
        BadData: it is no record, of a newer bench, or contradicts itself; with the place.
    """
    held = parsed_json(text, origin, "record")
    data = upgraded(one_line_each(unsealed(held), text), SCHEMA, UPGRADES, origin, "record")
    found = validated(data, _adapter(), origin, "record")
    if (wrong := run_contradiction(found.spec)) is not None:
        raise BadData(f"{origin} is not a valid record: its spec is that of no run ({wrong})")
    found = noted(found)
    require_sound(contradictions(found), origin, "record", "bench run with --rerun")
    check(held, origin, "bench run again with --rerun, or the file as it was")
    return found


def parsed_json(text: str, origin: str, what: str, again: str | None = None) -> dict[str, Any]:
    """The JSON object of a text.

    Raises:
        BadData: it is none, or holds what no JSON of ours does.
    """
    try:
        found = parse_json(text)
    except NotJSON as error:
        raise BadData(f"{origin} cannot be read ({error}), expected the JSON of a {what}", again) from None
    if not isinstance(found, dict):
        raise BadData(f"{origin} is no JSON object, expected the JSON of a {what}", again)
    return found


def one_line_each(found: dict[str, Any], text: str) -> dict[str, Any]:
    """The same, each text in it but those of the spec in one line; `text` is what it was read from."""
    if "\\" not in text and text.replace("\n", "").isprintable():
        return found  # most records are: this spares a walk through all they hold
    return {one_line(key): value if key == "spec" else _lines(value) for key, value in found.items()}


def validated(data: Any, adapter: TypeAdapter[T], origin: str, what: str, again: str | None = None) -> T:
    """The dataclass that data are of.

    Raises:
        BadData: a field is unknown, missing, or not of its type.
    """
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = one_line(".".join(str(part) for part in problem["loc"]))
        told = problem["msg"].removeprefix("Value error, ")
        raise BadData(f"{origin} is not a valid {what} at {place}: {told}", again) from None


def require_sound(wrong: Iterable[str], origin: str, what: str, again: str) -> None:
    """Raise BadData with the first contradiction, if there is one."""
    told = next(iter(wrong), None)
    if told is not None:
        raise BadData(
            f"{origin} contradicts itself: {one_line(told)}, expected a {what} as it was made",
            f"a copy that nobody changed, or {again}",
        )


def _lines(value: Any) -> Any:
    """JSON with each text in one line that does nothing where it is shown."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {one_line(key): _lines(item) for key, item in value.items()}
    return [_lines(item) for item in value] if isinstance(value, list) else value


@functools.cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)  # costs more to build than a hundred records to read
