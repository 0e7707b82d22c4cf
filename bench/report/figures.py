"""Figures of papers from stored results, by kind; nothing is computed from networks here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from bench.errors import BadValue
from bench.records import diagnostics
from bench.records.curves import Curve
from bench.records.diagnostics import Diagnosed
from bench.report.paper import Drawing, Format, paper, write

DRAW: Mapping[str, str] = {
    "scatter": "scatter:scatter",
    "claims": "claims:claims",
    "cost": "cost:cost",
    "classes": "classes:classes",
    "queries": "queries:queries",
    "distance": "distances:distances",
    "eps": "curves:curve_figure",
    "steps": "curves:curve_figure",
    "restarts": "curves:curve_figure",
    "transfer": "transfer:heat_map",
    "roc": "detection:roc_curves",
    "shift": "shift:shift_figure",
    "gallery": "gallery:gallery",
    "landscape": "landscape:landscape",
    "attention": "pictures:attention",
    "embedding": "charts:embedding",
    "contributions": "charts:contributions",
    "purification": "pictures:purification",
    "training": "charts:training",
}
"""What draws each kind; nothing is imported before it is drawn."""

ALONE = ("transfer", "roc")
"""Kinds that show one result; the others are given all, and compare them or draw each."""


def draw(found: Sequence[Any], kinds: Sequence[str], folder: Path, form: Format, **how: Any) -> list[Path]:
    """Write figures of what was read, with numbers and captions; of diagnostics without kinds all there are.

    `how` goes to what draws: `width` in inches, and of queries `every_column`.

    Raises:
        BadValue: a kind was asked for that some do not hold, or what they hold cannot be compared.
    """
    for kind in kinds:
        for one in found:
            if not _holds(one, kind):
                raise BadValue(*_lacking(one, kind))
    with paper():
        made = [
            drawing
            for kind in kinds or _there(found)
            for drawing in drawings(kind, [one for one in found if _holds(one, kind)], **how)
        ]
        return [path for drawing in _told_apart(made) for path in write(drawing, folder, form)]


def drawings(kind: str, found: Sequence[Any], **how: Any) -> list[Drawing]:
    """The figures of one kind; call it within `paper()`."""
    queried = kind == "queries" and isinstance(found[0], Curve)
    module, _, name = DRAW["eps" if queried else kind].partition(":")
    function: Callable[..., Drawing | list[Drawing]] = getattr(import_module(f"bench.report.{module}"), name)
    if kind in ALONE:
        return [cast(Drawing, function(*(one if isinstance(one, tuple) else (one,)), **how)) for one in found]
    made = function(found, **how)
    return made if isinstance(made, list) else [made]


def _holds(one: Any, kind: str) -> bool:
    """Whether it can be drawn so; what is no look inside a defense says so when it is drawn."""
    return not isinstance(one, Diagnosed) or kind in one.figures.kinds


def _there(found: Sequence[Diagnosed]) -> list[str]:
    """The kinds that some diagnostics hold."""
    kinds: list[str] = [kind for kind in diagnostics.KINDS if any(kind in one.figures.kinds for one in found)]
    if not kinds:
        raise BadValue(*_lacking(found[0], diagnostics.KINDS[0]))
    return kinds


def _told_apart(made: Sequence[Drawing]) -> Sequence[Drawing]:
    names = [drawing.name for drawing in made]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise BadValue(
            f"{names.count(min(twice))} figures would be called {min(twice)}, expected one of them at a time"
        )
    return made


def _lacking(one: Diagnosed, kind: str) -> tuple[str, str | None]:
    figures = one.figures
    there = ", ".join(figures.kinds) or "another defense, because these hold nothing that can be drawn"
    why = figures.left_out.get(kind)
    reason = why or "they were made before it was looked for"
    hint = None if why else f"bench diagnose --defense {figures.defense} --rerun"
    return (
        f"the diagnostics {figures.id} of {figures.defense} hold no {kind} ({reason}), expected {there}",
        hint,
    )
