"""Records from their files, read strictly, older ones with what follows from what they hold."""

from __future__ import annotations

import functools

from pydantic import TypeAdapter, ValidationError

from bench.core.json_file import NotJSON, parse_json
from bench.core.threat import parse_eps
from bench.errors import BadData, BadValue
from bench.records.follow_ups import noted
from bench.records.record import SCHEMA, Record
from bench.records.seal import check, unsealed


def from_json(text: str, origin: str = "the record") -> Record:
    """Read a record strictly: an unknown field, a missing one, or a NaN is refused with its place.

    Of an older one, what its columns met and broke is worked out; see bench.records.follow_ups.
    """
    try:
        data = parse_json(text)
    except NotJSON as error:
        raise BadData(f"{origin} cannot be read ({error}), expected a record.json") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BadData(f"{origin} has schema {schema!r}, expected {SCHEMA}", "bench run again with --rerun")
    try:
        found = _adapter().validate_python(unsealed(data))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BadData(f"{origin} is not a valid record at {place}: {problem['msg']}") from None
    try:
        parse_eps(found.eps)
    except BadValue as error:
        raise BadData(f"{origin} is not a valid record: {error.message}") from None
    check(data, origin, "bench run again with --rerun, or the file as it was")
    return noted(found)


@functools.cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)  # costs more to build than a hundred records to read
