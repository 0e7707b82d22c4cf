"""The axes of a sweep and their product: the words of `bench run` for each run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

from bench.errors import BadValue, BenchError, unknown

AXES = ("data", "norm", "eps", "arch", "recipe", "train_eps", "defense", "seed", "suite")
"""What may have several values; the last changes first, so the suites of a training follow each other."""

OF_OTHERS = ("factory", "normalize", "classes", "attackable", "randomized", "label")
"""What is said of a network that others trained, beside its checkpoint."""

FIXED = (
    *("examples", "checkpoint", "surrogate", "resize", "crop", "init", "extra", "extra_share"),
    *OF_OTHERS,
)
"""What has one value in a block."""

FLAGS = ("randomized",)
"""What of it is true or false."""

SET = "set"
"""The table of overrides, each of one value or several."""

MOST = 10_000
"""How many runs one sweep may have."""

Word = str | bool | tuple[str, ...]


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep, in the words of `bench run`: each as it is typed."""

    words: Mapping[str, Word]
    place: str = ""  # of the file, where sentences about it begin; empty: it was typed

    @property
    def settings(self) -> tuple[str, ...]:
        """Its overrides, each KEY=VALUE."""
        held = self.words["settings"]
        return held if isinstance(held, tuple) else ()


def points_of(block: Mapping[str, object], place: str = "") -> list[SweepPoint]:
    """The product of all axes of a block: of each key a value, of axes and overrides also a list of them.

    Raises:
        BadValue: a key, a type or a list is not as it must be, there is no defense, or there are too many.
    """
    with told_of(place):
        axes = dict(_axes(block))
        if "defense" not in axes:
            raise BadValue("there is no defense, expected at least one", "bench list defenses")
        count = math.prod(map(len, axes.values()))
        if count > MOST:
            raise BadValue(f"there are {count:,} runs, expected at most {MOST:,}", "several sweeps")
    return [
        SweepPoint(_words(dict(zip(axes, values, strict=True))), place) for values in product(*axes.values())
    ]


@contextmanager
def told_of(place: str) -> Iterator[None]:
    """What is wrong within is told with its place in a file."""
    try:
        yield
    except BenchError as error:
        if not place:
            raise
        raise type(error)(f"{place}: {error.message}", error.hint) from None


def _axes(block: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The keys that were given, in the order of the product, each with its values as they are typed."""
    for key in block:
        if key not in (*AXES, *FIXED, SET):
            raise unknown("key", key, [*AXES, *FIXED, SET], owner="a sweep")
    for key in FIXED:
        if key in block:
            yield key, (_flag(key, block[key]) if key in FLAGS else _one(key, block[key]),)
    slow = AXES.index("defense")
    yield from ((key, _several(key, block[key])) for key in AXES[:slow] if key in block)
    yield from _overrides(block.get(SET, {}))
    yield from ((key, _several(key, block[key])) for key in AXES[slow:] if key in block)


def _overrides(table: object, parts: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """`set.recipe.epochs` and the like, from tables in tables."""
    if not isinstance(table, Mapping):
        raise BadValue(f"{SET} is {table!r}, expected a table of overrides", "[set] with recipe.epochs = 3")
    for name, value in table.items():
        inner = (*parts, str(name))
        if isinstance(value, Mapping):
            yield from _overrides(value, inner)
        else:
            yield f"{SET}.{'.'.join(inner)}", _several(f"{SET}.{'.'.join(inner)}", value)


def _several(key: str, value: object) -> tuple[str, ...]:
    """The values of an axis, each once."""
    if not isinstance(value, (list, tuple)):
        return (_text(key, value, "a text, a number or a list of these"),)
    if not value:
        raise BadValue(f"{key} is an empty list, expected at least one value")
    texts = tuple(_text(key, one, "a list of texts and numbers") for one in value)
    twice = next((text for text, times in Counter(texts).items() if times > 1), None)
    if twice is not None:
        raise BadValue(f"{key} has {twice!r} twice, expected every value once")
    return texts


def _one(key: str, value: object) -> str:
    if isinstance(value, (list, tuple)):
        raise BadValue(f"{key} is a list, expected one value, the same for all runs of a block")
    return _text(key, value, "a text or a number")


def _flag(key: str, value: object) -> str:
    if not isinstance(value, bool):
        raise BadValue(f"{key} is {value!r}, expected true or false", f"{key} = true")
    return str(value).lower()


def _text(key: str, value: object, expected: str) -> str:
    """A value as it is typed; only overrides are ever true or false."""
    if isinstance(value, bool) and key.startswith(f"{SET}."):
        return str(value).lower()
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadValue(f"{key} holds {value!r}, expected {expected}")
    return str(value)


def _words(values: Mapping[str, str]) -> dict[str, Word]:
    """The words of one run, all overrides under one option."""
    prefix = f"{SET}."
    plain: dict[str, Word] = {
        key: value == "true" if key in FLAGS else value
        for key, value in values.items()
        if not key.startswith(prefix)
    }
    settings = [f"{key.removeprefix(prefix)}={value}" for key, value in values.items() if key not in plain]
    return {**plain, "settings": tuple(settings)}


def every_point(blocks: Sequence[tuple[str, Mapping[str, object]]]) -> list[SweepPoint]:
    """The points of all blocks, each given with its place."""
    found = [point for place, block in blocks for point in points_of(block, place)]
    if len(found) > MOST:
        raise BadValue(f"there are {len(found):,} runs, expected at most {MOST:,}", "several sweeps")
    return found
