"""Figures of papers from stored results, by kind; nothing is computed from networks here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from bench.errors import BadValue
from bench.figures.read import Drawable
from bench.report.names import renamed
from bench.report.paper import Drawing, Format, paper, write

NOTHING: Mapping[str, str] = MappingProxyType({})


def draw(
    todo: Sequence[Drawable], folder: Path, form: Format, names: Mapping[str, str] = NOTHING, **how: Any
) -> list[Path]:
    """Write figures of what was read, with numbers and captions.

    `names`: defense -> what figures call it; the numbers beside them keep their own. `how`
    goes to what draws: `width` in inches, and of queries `every_column`.

    Raises:
        BadValue: results cannot be compared, or two figures would have one name.
    """
    with paper(), renamed(names):
        made = [drawing for one in todo for drawing in drawings(one, **how)]
        return [path for drawing in _told_apart(made) for path in write(drawing, folder, form)]


def drawings(todo: Drawable, **how: Any) -> list[Drawing]:
    """The figures of one kind; call it within `paper()`."""
    module, _, name = todo.by.draw.partition(":")
    function: Callable[..., Drawing | list[Drawing]] = getattr(import_module(module), name)
    if not todo.by.together:
        return [cast(Drawing, function(one, **how)) for one in todo.found]
    made = function(list(todo.found), **how)
    return made if isinstance(made, list) else [made]


def _told_apart(made: Sequence[Drawing]) -> Sequence[Drawing]:
    names = [drawing.name for drawing in made]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise BadValue(
            f"{names.count(min(twice))} figures would be called {min(twice)}, expected one of them at a time"
        )
    return made
