"""Which outputs of a network are the classes of a data set, by the names that a file gives the outputs."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.files import at_home, read_text, why
from bench.core.json_file import MOST, parse_json
from bench.errors import BadValue, near

SYNSET = re.compile(r"n\d{8}")

IMAGENET = "imagenet"
"""The word for ImageNet's 1,000 classes, by their synsets (n01440764) or names."""


def outputs_of(place: str, classes: Sequence[str], data: str) -> tuple[int, ...]:
    """The output of each class, in the order of the classes.

    `place` is `imagenet` or a file: a name on each line in the order of the outputs, or JSON: such a list, a
    table from number to name or names (ImageNet's class index), or from name to number.

    Raises:
        BadValue: it cannot be read, or a class is not in it.
    """
    named = _imagenet() if place == IMAGENET else _read(at_home(place))
    plain = {_plain(name): number for name, number in named.items()}
    found = []
    for name in classes:
        number = named.get(name, plain.get(_plain(name)))
        if number is None:
            meant = near(name, named)
            near_by = repr(meant) if meant else f"{', '.join([*named][:4])}, ..."
            raise BadValue(
                f"{place} names no output {name!r}, a class of {data}, but {near_by}, expected every class",
                "--classes FILE with the name of each output as the data set calls it, a line each",
            )
        found.append(number)
    if len(set(found)) < len(found):
        raise BadValue(f"{place} gives two classes of {data} one output, expected an output for each")
    return tuple(found)


def of_synsets(classes: Sequence[str], data: str) -> tuple[int, ...]:
    """ImageNet's output of each class, where all are named by synsets (n01440764); empty: they are not.

    Raises:
        BadValue: timm, which knows the synsets, is not there, or one of them is none of ImageNet's.
    """
    named_so = bool(classes) and all(SYNSET.fullmatch(name) for name in classes)
    return outputs_of(IMAGENET, classes, data) if named_so else ()


def synsets() -> list[str]:
    """ImageNet's 1,000 synsets in the order of its classes, from timm's table; timm itself is not loaded.

    Raises:
        BadValue: timm is not there.
    """
    found = importlib.util.find_spec("timm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        table = Path(folder, "data", "_info", "imagenet_synsets.txt")
        if table.is_file():
            return table.read_text(encoding="utf-8").split()
    raise BadValue(
        "the synsets of ImageNet's classes are in timm, which is not installed",
        "pip install timm, or --classes FILE with the synset of each output, a line each",
    )


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip()


def _read(path: Path) -> dict[str, int]:
    try:
        text = read_text(path, MOST)
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(
            f"{path} cannot be read ({why(error)}), expected names of outputs", "--classes FILE"
        ) from None
    if not text.lstrip().startswith(("{", "[")):
        return {line.strip(): number for number, line in enumerate(text.splitlines()) if line.strip()}
    try:
        return _of_json(parse_json(text))
    except (ValueError, TypeError, RecursionError):
        raise BadValue(
            f"{path} is no list of names and no table between names and numbers, expected one",
            "--classes FILE with a name on each line",
        ) from None


def _of_json(found: Any) -> dict[str, int]:
    if isinstance(found, Mapping) and all(isinstance(value, int) for value in found.values()):
        return {str(name): int(number) for name, number in found.items()}
    numbered = (
        enumerate(found) if isinstance(found, list) else ((int(key), item) for key, item in found.items())
    )
    named: dict[str, int] = {}
    for number, names in numbered:
        for name in [names] if isinstance(names, str) else names:
            named.setdefault(str(name), number)
    return named


def _imagenet() -> dict[str, int]:
    """Synsets in the order of ImageNet's classes, and their names as torchvision tells them."""
    from torchvision.models import ResNet18_Weights

    names = ResNet18_Weights.DEFAULT.meta["categories"]
    return {name: number for place in (names, synsets()) for number, name in enumerate(place)}
