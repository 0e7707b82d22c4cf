"""A digest in a JSON file over all that it holds, so that a file that was changed says so when it is read.

It guards against accidents and careless hands: whoever means to deceive can make a new one. What is proved
by computing it again is for `bench verify`. Files of older making have no digest, and are read without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bench.core.json_file import parse_json
from bench.errors import BadData

KEY = "digest"
"""The entry that holds it: the SHA-256 of all others, in hexadecimal digits."""


def sealed(data: Mapping[str, Any]) -> str:
    """The data with their digest as indented JSON, with a newline at the end; ValueError for a NaN.

    >>> parse_json(sealed({"a": 1}))["digest"][:12]
    '015abd7f5cc5'
    """
    whole = {**data, KEY: _digest(data)}
    return json.dumps(whole, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def seal(text: str) -> str:
    """The same for JSON text; a digest that it has already is made anew."""
    return sealed(unsealed(parse_json(text)))


def unsealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data without their digest, if they have one."""
    return {name: value for name, value in data.items() if name != KEY}


def check(data: Mapping[str, Any], origin: str, hint: str) -> None:
    """See whether the digest of a file is that of its data; one without a digest is taken as it is.

    Raises:
        BadData: the digest is of something else.
    """
    if KEY in data and data[KEY] != _digest(unsealed(data)):
        raise BadData(
            f"{origin} was changed after it was made (its digest is of something else), expected the file as "
            "it was written",
            hint,
        )


def with_sum(content: bytes) -> bytes:
    """The content of a file with its SHA-256 at the end, where its format has no place for one."""
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def without_sum(content: bytes) -> bytes:
    """The content without it; ValueError if it is of something else. Files of older making have none.

    >>> without_sum(with_sum(b"weights")), without_sum(b"weights")
    (b'weights', b'weights')
    """
    body, mark, digest = content[:-_TRAILER], content[-_TRAILER:-64], content[-64:]
    if mark != _MARK:
        return content
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("it was changed after it was written")
    return body


_MARK = b"\nsha256 "
_TRAILER = len(_MARK) + 64


def _digest(data: Mapping[str, Any]) -> str:
    plain = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()
