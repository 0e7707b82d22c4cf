"""The runs of a store without a record to read: begun, failed or damaged, each with what goes on with it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.files import read_bytes
from bench.core.json_file import read_json
from bench.core.text import one_line
from bench.errors import BadData
from bench.records.begun import command_of
from bench.records.resolved import run_contradiction
from bench.records.store import Store, read_record


@dataclass(frozen=True)
class Unfinished:
    """One run, or the folder of one."""

    kind: str  # "incomplete", "failed", "damaged"
    name: str
    summary: str
    command: str


def unfinished(place: Path) -> Iterator[Unfinished]:
    """In the order of their ids."""
    for folder in sorted(
        {path.parent for name in ("spec", "record") for path in place.glob(f"*/{name}.json")}
    ):
        record = folder / "record.json"
        if not record.is_file():
            yield _begun(folder)
            continue
        try:
            read_record(record)
        except BadData as error:
            command = _command(folder)
            yield Unfinished("damaged", one_line(folder.name), one_line(error.message), f"{command} --rerun")


def _begun(folder: Path) -> Unfinished:
    """A run without a record: how far it came, and what failed."""
    spec, name = _spec(folder), one_line(folder.name)
    errors = sorted(folder.glob("cells/*/*.error"))
    done = len(list(folder.glob("cells/*/*.npz")))
    told = f"{_what(spec)}: {done} cells are stored"
    if not errors:
        return Unfinished("incomplete", name, told, _command(folder))
    why = read_bytes(errors[0]).decode("utf-8", errors="replace").strip()
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    told = one_line(f"{told}; {errors[0].parent.name} failed ({why[:200]}){more}")
    return Unfinished("failed", name, told, _command(folder))


def _spec(folder: Path) -> Mapping[str, Any] | None:
    """What was asked; None: nothing there says it."""
    for name, take in _SOURCES.items():
        try:
            spec = take(read_json(folder / name))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(spec, dict) and run_contradiction(spec) is None:
            return spec
    return None


_SOURCES: Mapping[str, Callable[[Any], Any]] = {
    "spec.json": lambda held: held["spec"],
    "record.json": lambda held: held["spec"],
}


def _what(spec: Mapping[str, Any] | None) -> str:
    if spec is None:
        return "nothing says what it is of"
    training, suite, budget = spec["training"], spec["suite"], spec["budget"]
    attacked = f"{suite['name']}@{suite['version']} on {training['data']}, {budget['norm']} {budget['eps']}"
    return one_line(f"{training['name']} under {attacked}, seed {training['seed']}")


def _command(folder: Path) -> str:
    """The command that it was begun with; where nobody noted it, as far as its spec says it."""
    noted = command_of(Store(folder.parent), folder.name)
    if noted is not None:
        return noted
    spec = _spec(folder)
    if spec is None:
        return "bench run"
    training, suite, budget = spec["training"], spec["suite"], spec["budget"]
    words = ["--defense", training["name"], "--suite", suite["name"], "--data", training["data"]]
    words += ["--arch", training["architecture"], "--norm", budget["norm"], "--eps", budget["eps"]]
    words += ["--seed", str(training["seed"])]
    words += ["--recipe", str(training["recipe"]["name"])] if "name" in training["recipe"] else []
    words += ["--examples", str(suite["examples"])] if suite.get("examples") is not None else []
    words += ["--checkpoint", "last"] if spec["checkpoint"] == "last" else []
    words += ["--store", str(folder.parent)]
    return one_line(shlex.join(["bench", "run", *words]))
