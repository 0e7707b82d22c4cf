"""How something is named together with what is changed in it: `NAME[field=value,...]`."""

from __future__ import annotations

import re

from bench.errors import BadValue

_VARIANT = re.compile(r"(?P<name>[^\[\]]+)(\[(?P<fields>.*)\])?", re.DOTALL)


def variant(text: str, what: str, hint: str) -> tuple[str, dict[str, str]]:
    """The name, and the text of each field in the brackets; `what` is named so, and `hint` is what to type.

    >>> variant("ensemble[base=trades[beta=3,steps=5], weights=1,2]", "the defense", "bench list defenses")
    ('ensemble', {'base': 'trades[beta=3,steps=5]', 'weights': '1,2'})

    Raises:
        BadValue: it is not of that form.
    """
    match = _VARIANT.fullmatch(text.strip())
    if match is None:
        raise BadValue(f"{what} is {text!r}, expected NAME or NAME[field=value,...]", hint)
    return match["name"].strip(), dict(_pair(item, text) for item in _fields(match["fields"] or ""))


def split(sign: str, text: str) -> list[str]:
    """The parts of a text between signs that stand in no brackets.

    >>> split("+", "pgd_at+trades[betas=1+2]")
    ['pgd_at', 'trades[betas=1+2]']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == sign and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _fields(text: str) -> list[str]:
    """`a=1,b=2,3` at the commas before a field."""
    found: list[str] = []
    for item in split(",", text):
        if found and not re.match(r"\s*\w+\s*=", item):
            found[-1] += f",{item}"
        else:
            found.append(item)
    return [item for item in found if item.strip()]


def _pair(item: str, text: str) -> tuple[str, str]:
    key, sign, value = item.partition("=")
    if not sign:
        raise BadValue(f"{item!r} in {text!r} is no setting, expected field=value")
    return key.strip(), value.strip()
