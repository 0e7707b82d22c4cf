"""What a folder holds, apart from when, where and how long: two that hold the same compare equal."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

TIMES = frozenset(
    {
        "seconds",
        "started",
        "images_per_second",
        "digest",
        "log.csv",
        "commit",
        "dirty",
        "training_seconds",
        "proof_seconds",
    }
)
"""Fields that differ between two computations of the same, and digests of what holds such."""

UNSEEN = frozenset({".locks", ".workers"})
"""Folders that are not looked at: who holds a lock, and who computes, is noted for people alone."""

Content = Any


def snapshot(folder: Path) -> dict[str, Content]:
    """Content by path below the folder; an empty folder counts, too."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: content(path, folder) if path.is_file() else "an empty folder"
        for name, path in found.items()
        if (path.is_file() or not any(path.iterdir())) and UNSEEN.isdisjoint(Path(name).parts)
    }


def content(path: Path, folder: Path) -> Content:
    """What is compared of a file."""
    data = path.read_bytes()
    try:
        if path.suffix == ".lock":
            return None
        if path.suffix == ".npz" and "cells" in path.parts:
            return _arrays(data)
        if path.suffix == ".json":
            return _timeless(json.loads(data), "asked" in path.parts, str(folder))
        if path.suffix == ".csv" and path.name != "examples.csv":
            return _table(data.decode())
        if path.suffix in (".xml", ".html", ".js"):
            return re.sub(r' time(stamp)?="[^"]*"', "", data.decode().replace(str(folder), "."))
        if path.suffix == ".md":
            return _board(data.decode())
    except (ValueError, OSError, KeyError) as error:
        return f"unreadable: {error}"
    return data


def differences(expected: Mapping[str, Content], found: Mapping[str, Content]) -> list[str]:
    """Each file that is lacking, left behind, or of other content, in words."""
    told = [f"{path} is lacking" for path in expected if path not in found]
    told += [f"{path} is left behind" for path in found if path not in expected]
    told += [
        f"{path} differs{_where(expected[path], found[path])}"
        for path in expected
        if path in found and found[path] != expected[path]
    ]
    return told


def _timeless(held: Any, is_answer: bool, folder: str) -> Any:
    if isinstance(held, dict):
        dropped = TIMES | ({"sha256"} if is_answer else set())
        return {k: _timeless(v, is_answer, folder) for k, v in held.items() if k not in dropped}
    if isinstance(held, list):
        return [_timeless(value, is_answer, folder) for value in held]
    return held.replace(folder, ".") if isinstance(held, str) else held


def _arrays(data: bytes) -> dict[str, bytes]:
    with np.load(io.BytesIO(data), allow_pickle=False) as held:
        return {
            name: held[name].tobytes() + str((held[name].dtype, held[name].shape)).encode()
            for name in held.files
            if name not in TIMES
        }


def _table(text: str) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(io.StringIO(text))]


def _board(text: str) -> list[list[str]]:
    """The lines of a table in markdown, without what took how long."""
    lines = [line.split(" | ") for line in text.splitlines() if not line.startswith("<!--")]
    title: list[str] = next((line for line in lines if len(line) > 1), [])
    timed = {place for place, name in enumerate(title) if name.endswith("seconds")}
    return [[cell for k, cell in enumerate(line) if k not in timed] for line in lines]


def _where(one: Any, other: Any, place: str = "") -> str:
    """The first place in which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                return _where(one.get(key), other.get(key), f"{place}.{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            if left != right:
                return _where(left, right, f"{place}[{number}]")
    at = f" at {place[1:]}" if place else ""
    return f"{at}: {str(one)[:60]} became {str(other)[:60]}"
