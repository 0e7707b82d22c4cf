"""Genuine inputs, damaged: their bytes, the nodes of their JSON, their words. A Random decides everything."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

NUMBERS = (0, 1, -1, 7, 2**31, 2**63 - 1, 2**63, 2**64, 10**25, -(2**63), 0.5, -0.0, 1e308, 5e-324, 1e-7)

TEXTS = (
    *("", " ", "x", "../../x", "/etc/passwd", "a\nb", "\x00", "\x1b[31m", "=1+1", "<script>", "\\input{x}"),
    *("١", "½", "8/0", "1/3/5", "nan", "inf", "-inf", "1e999999999", "1e400", "8/255", "-1", "0", "True"),
    *(
        "x" * 3000,
        "9" * 5000,
        "é",
        "\u202e",
        "Linf",
        "L2",
        "none",
        "null",
        "[]",
        "{}",
        "a=b",
        "[a=b]",
        "best",
    ),
)

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], {"": None}, {"is": "budget"}, {"is": "os:system"}),
    *({"is": "defense/loaded", "factory": "os:system"}, [[[[[1]]]]], ["a", 1, None]),
    *NUMBERS,
    *TEXTS,
)

TOKENS = (
    *(b"", b"\x00", b"\xff", b"\xff" * 8, b"\x00" * 8, b"\x7f\xff\xff\xff", b"NaN", b"Infinity", b"1e999"),
    *(
        b"[" * 200,
        b'{"a":' * 200,
        b"9" * 30,
        b'"\\ud800"',
        b"\xef\xbb\xbf",
        b"\n",
        b",",
        b"..",
        b"PK\x05\x06",
    ),
    *(b"(" * 300, b"<f8", b"|O", b"'shape': (99999999999,)", b"\x93NUMPY", b"\x80\x02", b"."),
)


def of_bytes(content: bytes, draw: Random) -> bytes:
    """One to four times: a bit, a byte, a stretch or an end of it is another."""
    held = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        held = _WAYS[draw.randrange(len(_WAYS))](held, draw)
    return bytes(held)


def of_json(content: bytes, draw: Random) -> bytes:
    """One to three nodes are another value, gone, or there again; every fourth time bytes change."""
    if draw.randrange(4) == 0:
        return of_bytes(content, draw)
    found = json.loads(content)
    if isinstance(found, dict):
        found.pop("digest", None)  # whoever means harm makes it anew
    for _ in range(draw.randint(1, 3)):
        places = list(_places(found))
        if not places:
            break
        owner, key = draw.choice(places)
        _change(owner, key, draw, places)
    return json.dumps(found).encode()


def of_text(text: str, draw: Random, words: Sequence[str] = TEXTS) -> str:
    """One to three times: letters are dropped, doubled or put in, or the whole is another text."""
    for _ in range(draw.randint(1, 3)):
        at, to = sorted(draw.randint(0, len(text)) for _ in range(2))
        way = draw.randrange(6)
        if way == 0:
            text = text[:at] + text[to:]
        elif way == 1:
            text = text[:to] + text[at:]
        elif way == 2:
            text = text[:at] + draw.choice(words) + text[at:]
        elif way == 3:
            text = text[:at] + draw.choice(words) + text[to:]
        elif way == 4:
            text = text[:at] + draw.choice("[]=,./:@+-0123456789eE \t'\"%#") + text[at:]
        else:
            text = draw.choice(words)
    return text


def _places(found: Any) -> Any:
    """Every list or table with each key that it has."""
    waiting = [found]
    while waiting:
        held = waiting.pop()
        keys: Any = list(held) if isinstance(held, dict) else range(len(held))
        for key in keys:
            yield held, key
            if isinstance(held[key], (dict, list)):
                waiting.append(held[key])


def _change(owner: Any, key: Any, draw: Random, places: Sequence[tuple[Any, Any]]) -> None:
    if (isinstance(owner, list) and not key < len(owner)) or (isinstance(owner, dict) and key not in owner):
        return
    way = draw.randrange(8)
    if way == 0:
        del owner[key]
    elif way == 1 and isinstance(owner, dict):
        owner[draw.choice(("extra", "", "is", f"{key} "))] = owner[key]
    elif way == 1:
        owner.append(owner[key])
    elif way == 2:
        other, there = draw.choice(places)
        if (isinstance(other, dict) and there in other) or (isinstance(other, list) and there < len(other)):
            owner[key] = copy.deepcopy(other[there])
    elif way == 3 and isinstance(owner[key], str):
        owner[key] = of_text(owner[key], draw)
    elif way == 3 and isinstance(owner[key], (int, float)):
        owner[key] = owner[key] * draw.choice((-1, 2, 1000)) + draw.choice((0, 1, 0.5))
    else:
        owner[key] = copy.deepcopy(draw.choice(HOSTILE))


def _flip(held: bytearray, draw: Random) -> bytearray:
    if held:
        held[draw.randrange(len(held))] ^= 1 << draw.randrange(8)
    return held


def _byte(held: bytearray, draw: Random) -> bytearray:
    if held:
        held[draw.randrange(len(held))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    return held


def _at_the_start(held: bytearray, draw: Random) -> bytearray:
    """Headers are where the danger is."""
    if held:
        held[draw.randrange(min(len(held), 128))] = draw.randrange(256)
    return held


def _at_the_end(held: bytearray, draw: Random) -> bytearray:
    if held:
        held[len(held) - 1 - draw.randrange(min(len(held), 128))] = draw.randrange(256)
    return held


def _cut(held: bytearray, draw: Random) -> bytearray:
    return held[: draw.randint(0, len(held))]


def _drop(held: bytearray, draw: Random) -> bytearray:
    at, to = sorted(draw.randint(0, len(held)) for _ in range(2))
    return held[:at] + held[to:]


def _double(held: bytearray, draw: Random) -> bytearray:
    at, to = sorted(draw.randint(0, len(held)) for _ in range(2))
    return (held[:to] + held[at:])[: 1 << 20]


def _insert(held: bytearray, draw: Random) -> bytearray:
    at = draw.randint(0, len(held))
    return held[:at] + draw.choice(TOKENS) + held[at:]


def _overwrite(held: bytearray, draw: Random) -> bytearray:
    at, token = draw.randint(0, len(held)), draw.choice(TOKENS)
    return held[:at] + token + held[at + len(token) :]


_WAYS = (_flip, _flip, _byte, _byte, _at_the_start, _at_the_end, _cut, _drop, _double, _insert, _overwrite)
