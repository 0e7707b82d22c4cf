"""Frozen dataclasses as JSON, as text, and back: whatever can be chosen is such a value."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable
from enum import Enum
from fractions import Fraction
from typing import Any, TypeVar

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from bench.core.constructible import class_named, require_given
from bench.core.exact import LARGEST, exact
from bench.core.imports import CODE
from bench.core.names import TYPE_KEY, name_at
from bench.errors import BadValue

T = TypeVar("T")


def encode(value: object) -> Any:
    """JSON data that names the value completely.

    >>> from bench.core.threat import Budget, Norm
    >>> encode(Budget(Norm.LINF, Fraction(8, 255)))
    {'is': 'budget', 'norm': 'Linf', 'eps': '8/255'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {TYPE_KEY: name_at(f"{type(value).__module__}:{type(value).__qualname__}"), **named}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise BadValue(f"{value} has no place in a record: absent is null, with a reason")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise BadValue(f"a {type(value).__name__} cannot be encoded, expected plain data or a frozen dataclass")


def decode(data: Any, beside: Iterable[type] = (), kind: type | None = None) -> Any:
    """The value that `encode` was given; refuses unknown fields and values of the wrong type.

    Only classes of the table of names, of installed plug-ins and of files that the user gave are made, and no
    other module is imported, for data may come from anybody. `beside`: classes that are at hand anyway;
    `kind`: what the whole must be.

    >>> from bench.core.threat import WHITE_BOX
    >>> decode(encode(WHITE_BOX)) == WHITE_BOX
    True
    """
    found = _decoded(data, beside)
    if kind is not None and not isinstance(found, kind):
        raise BadValue(f"there is a {type(found).__name__}, expected a {kind.__name__}")
    return found


def _decoded(data: Any, beside: Iterable[type]) -> Any:
    if isinstance(data, list):
        return tuple(_decoded(item, beside) for item in data)
    if not isinstance(data, dict):
        return data
    if TYPE_KEY not in data:
        return {key: _decoded(item, beside) for key, item in data.items()}
    kind: Any = class_named(str(data[TYPE_KEY]), beside)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted({*data} - {TYPE_KEY, *fields})
    if unknown:
        raise BadValue(
            f"{kind.__name__} has no field {unknown[0]!r}, expected {', '.join(sorted(fields)) or 'none'}"
        )
    given = {key: _decoded(item, beside) for key, item in data.items() if key != TYPE_KEY}
    hints = typing.get_type_hints(kind)
    for key, item in given.items():
        if CODE in fields[key].metadata:
            require_given(str(item), f"{kind.__name__}.{key}")
    values = {key: _validated(hints[key], item, f"{kind.__name__}.{key}") for key, item in given.items()}
    lacking = [name for name, field in fields.items() if name not in values and _is_needed(field)]
    if lacking:
        raise BadValue(f"{kind.__name__} lacks {', '.join(lacking)}, expected every field")
    return kind(**values)


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def kinds_in(value: object) -> set[type]:
    """The dataclasses of a value and of all that it holds."""
    if isinstance(value, (tuple, list)):
        return {kind for item in value for kind in kinds_in(item)}
    if isinstance(value, dict):
        return kinds_in(list(value.values()))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return set()
    return {type(value)}.union(*(kinds_in(getattr(value, field.name)) for field in dataclasses.fields(value)))


def override(value: T, settings: dict[str, Any]) -> T:
    """The value with some fields replaced by what a user typed; what is no text stays as it is.

    >>> from bench.core.threat import WHITE_BOX
    >>> override(WHITE_BOX, {"max_queries": "100"}).max_queries
    100
    """
    hints = typing.get_type_hints(type(value))
    names = [field.name for field in dataclasses.fields(value)]  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise BadValue(
                f"{type(value).__name__} has no parameter {name!r}; {hint}it has {', '.join(names)}"
            )
        changes[name] = _typed(hints[name], text, name) if isinstance(text, str) else text
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def _typed(hint: Any, text: str, name: str) -> Any:
    if text.lower() in ("none", "null") and type(None) in typing.get_args(hint):
        return None
    if typing.get_origin(hint) is tuple:
        items: Any = [item.strip() for item in text.strip("[]()").split(",") if item.strip()]
        return _validated(hint, items, name)
    return _validated(hint, text, name)


def _validated(hint: Any, value: Any, name: str) -> Any:
    parts = value if isinstance(value, tuple) and value else (value,)
    if all(dataclasses.is_dataclass(part) for part in parts):
        _require_kind(hint, parts, name)
        return value
    for part in parts if Fraction in (hint, *typing.get_args(hint)) else ():
        if isinstance(part, str):
            _require_exact(part, name)
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a dataclass brings its own configuration
        adapter = TypeAdapter(hint)
    try:
        found = adapter.validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise BadValue(f"{name} is {value!r}: {message}", f"--set {name}=VALUE with a valid value") from None
    item: Any
    for item in _all(found):
        if isinstance(item, float) and not math.isfinite(item):
            raise BadValue(f"{name} is {value!r}, expected a finite number")
        if isinstance(item, (int, Fraction)) and not -LARGEST <= item <= LARGEST:
            raise BadValue(f"{name} is {_short(value)}, expected a number of at most {LARGEST:,}")
    return found


UNLABELLED = "not in labels"
"""In the metadata of a field that names a value no further: another field does."""


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_SHOWN = 40
"""How many letters of a value that is too large are told."""


def _require_kind(hint: Any, parts: Iterable[object], name: str) -> None:
    """Refuse a dataclass where only another one may stand."""
    kinds = [kind for kind in (hint, *typing.get_args(hint)) if isinstance(kind, type) and kind is not tuple]
    checked = kinds and all(dataclasses.is_dataclass(kind) for kind in kinds)
    for part in parts if checked else ():
        if not isinstance(part, tuple(kinds)):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise BadValue(f"{name} is a {type(part).__name__}, expected {expected}")


def _require_exact(text: str, name: str) -> None:
    try:
        exact(text)
    except ValueError:
        raise BadValue(
            f"{name} is {text[:80]!r}, expected a number such as 8/255 or 0.3",
            f"--set {name}=VALUE with a valid value",
        ) from None


def differences(value: object, base: object) -> dict[str, Any]:
    """The fields of a value that differ from another of the same type, encoded.

    >>> from bench.core.threat import SCORES, WHITE_BOX
    >>> differences(override(SCORES, {"max_queries": "100"}), SCORES)
    {'max_queries': 100}
    """
    if type(value) is not type(base):
        return {"type": type(value).__name__}
    return {
        field.name: encode(getattr(value, field.name))
        for field in dataclasses.fields(value)  # type: ignore[arg-type]
        if getattr(value, field.name) != getattr(base, field.name)
    }


def describe(value: object) -> str:
    """The value as one line: its type and every field, nested values too.

    >>> from bench.core.threat import Budget, Norm
    >>> describe(Budget(Norm.L2, Fraction(1, 2)))
    'Budget(norm=L2, eps=1/2)'
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = ", ".join(f"{f.name}={describe(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return f"{type(value).__name__}({inner})"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(describe(item) for item in value) + "]"
    return str(encode(value))
