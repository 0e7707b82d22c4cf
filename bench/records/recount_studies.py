"""What the result of a study says twice, said the same; each study adds what only its own figures must be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from bench.core.digest import content_id
from bench.records.heading import Heading
from bench.records.record import Interval
from bench.records.recount import unsound
from bench.records.resolved import run_contradiction


def contradictions(found: Heading) -> Iterator[str]:
    """One sentence for each thing that a result says in two ways; none of a result as it was made."""
    if (due := content_id(found.spec)) != found.id:
        yield f"its id is {found.id}, and its spec is that of {due}"
    yield from _of_runs(found)
    if not found.networks:
        yield "it is of no network"
    for number, network in enumerate(found.networks):
        if network.clean.n != found.examples:
            yield f"networks.{number}.clean is of {network.clean.n} examples, expected {found.examples}"
    for place, part in parts_of(found):
        if (wrong := unsound(part) if isinstance(part, Interval) else _out_of_order(part)) is not None:
            yield f"{place} {wrong}"


def of_all(found: Heading, shares: Mapping[str, Interval]) -> Iterator[str]:
    """One sentence for each share, by its place, that is not of all examples of a result."""
    for place, held in shares.items():
        if held.n != found.examples:
            yield f"{place} is of {held.n} examples, and the result of {found.examples}"


def parts_of(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every dataclass in a result but its spec and provenance, with where it stands: "points.2.robust"."""
    if dataclasses.is_dataclass(value):
        if place:
            yield place, value
        inside = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        value = {name: part for name, part in inside.items() if name not in ("spec", "provenance")}
    elif isinstance(value, tuple):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from parts_of(part, f"{place}.{key}" if place else str(key))


def _out_of_order(part: Any) -> str | None:
    """An interval of another kind whose value is not inside."""
    low, high = getattr(part, "low", None), getattr(part, "high", None)
    value = getattr(part, "value", getattr(part, "median", None))
    if low is None or high is None or value is None or low <= value <= high:
        return None
    return f"is {value:g} in [{low:g}, {high:g}], expected a value inside"


def _of_runs(found: Heading) -> Iterator[str]:
    """Whether the runs behind it are those that it tells of."""
    runs = [found.spec["run"]] if "run" in found.spec else list(found.spec.get("runs", ()))
    for run in runs:
        if (wrong := run_contradiction(run)) is not None:
            yield f"its spec is that of no run ({wrong})"
            return
    for number, (run, network) in enumerate(zip(runs, found.networks, strict=False)):
        training, budget = run["training"], run["budget"]
        told: dict[str, tuple[object, object]] = {
            "norm": (found.norm, budget["norm"]),
            "eps": (Fraction(found.eps), Fraction(budget["eps"])),
            "seed": (found.seed, training["seed"]),
            "data": (found.data, training["data"]),
            f"networks.{number}.training_id": (network.training_id, training["id"]),
        }
        for name, (held, due) in told.items():
            if held != due:
                yield f"its {name} is {held}, and {due} in its spec"
