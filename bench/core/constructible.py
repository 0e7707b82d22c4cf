"""Which classes may be made from data that anybody can have written: a record, a specification in a store."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from bench.core.imports import FROM_FILE, is_given
from bench.core.names import place_of
from bench.core.own import with_own_imports
from bench.errors import BadValue

GROUPS = ("bench.attacks", "bench.defenses", "bench.suites")
"""The entry-point groups by which other packages offer plug-ins."""


class NotGiven(BadValue):
    """Data name code that is neither ours, nor of an installed plug-in, nor given by the user."""


def class_named(name: str, beside: Iterable[type] = ()) -> type:
    """The frozen dataclass that an encoded value says it is.

    Either the table of names holds it, an installed plug-in is of it, it is in a file that the user gave, or
    it is one of `beside`. Nothing is imported before that is known.

    Raises:
        NotGiven: it is none of these.
        BadValue: what is there is no frozen dataclass.
    """
    place = place_of(name)
    if place is not None:
        return _frozen(importlib.import_module(place.partition(":")[0]), name, place.partition(":")[2])
    module, _, attribute = name.partition(":")
    for kind in beside:
        if (kind.__module__, kind.__qualname__) == (module, attribute):
            return kind
    found = _given(module) or _offered(module)
    if found is None:
        raise NotGiven(
            f"{name!r} is code that you did not give, expected a class of this harness, of an installed "
            "plug-in, or of a file that you trust",
            f"--code {module.rpartition('.')[2] or 'FILE'}.py",
        )
    return _frozen(found, name, attribute)


def require_given(target: str, what: str) -> None:
    """Refuse "module:attribute[...]" in a module that the user did not give; an empty text names none."""
    module = target.partition("[")[0].rpartition(":")[0]
    if target and not is_given(module):
        stem = module.removesuffix(".py").rpartition("/")[2]
        raise NotGiven(
            f"{what} is {target!r}, code that you did not give, expected code from a file that you trust",
            f"--code {stem}.py",
        )


def _frozen(module: ModuleType, name: str, attribute: str) -> type:
    """The class, which must be defined in the module, frozen, and a dataclass."""
    try:
        found: Any = getattr(module, attribute)
    except AttributeError:
        raise BadValue(f"{name!r} is not there any more, expected a frozen dataclass of that name") from None
    is_class = isinstance(found, type) and dataclasses.is_dataclass(found)
    at_home = is_class and (found.__module__, found.__qualname__) == (module.__name__, attribute)
    if not at_home or not found.__dataclass_params__.frozen:
        raise BadValue(f"{name!r} is no frozen dataclass, expected one")
    return found  # type: ignore[no-any-return]


def _given(module: str) -> ModuleType | None:
    """A module that was run from a file of the user's, or that such a file imports of the user's own."""
    files = [name for name, held in list(sys.modules.items()) if FROM_FILE in getattr(held, "__dict__", ())]
    return sys.modules.get(module) if module in with_own_imports(files) else None


def _offered(module: str) -> ModuleType | None:
    """A module that an entry point names, or in which the class of what one offers is."""
    return importlib.import_module(module) if module in _modules_offered(module.partition(".")[0]) else None


def _modules_offered(package: str) -> Iterator[str]:
    points = [point for group in GROUPS for point in importlib.metadata.entry_points(group=group)]
    ours = [point for point in points if point.module.partition(".")[0] == package]
    yield from (point.module for point in ours)
    for point in ours:
        offered = point.load()
        yield (offered if isinstance(offered, type) else type(offered)).__module__
