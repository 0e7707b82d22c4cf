"""A run as it was asked for, from its record and the trainings in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.api import Suite
from bench.core.digest import content_id
from bench.core.encoding import decode
from bench.core.json_file import read_json
from bench.core.threat import Budget, Source
from bench.data.catalog import PREFIXES, source
from bench.data.extra import Extra
from bench.data.identity import identity
from bench.data.reading import parted
from bench.errors import BadCheckpoint, BadValue, BenchError
from bench.evaluate.numerics import Numerics
from bench.plan import Init, Named, RunSpec, TrainSpec, name_of
from bench.records.record import Record
from bench.records.store import Store
from bench.runner.origins import data_of, give, give_code_of
from bench.train.recipe import Recipe


def spec_of(record: Record, store: Store, data: str | None = None, code: tuple[str, ...] = ()) -> RunSpec:
    """The specification behind a record; it has the record's id, or is refused.

    `data` is where data of the user's own lie now, `code` the Python files of the user's own classes;
    without, they are looked for where they were. Nothing is trained: every network must be in the store.

    Raises:
        BenchError: weights, data or code are not at hand, or this code describes the run in other words.
    """
    give(code)
    give_code_of(record, store)
    spec = record.spec
    try:
        found = RunSpec(
            training=_training(store, spec["training"]["id"], data, spec["training"]["name"]),
            suite=decode(spec["suite"], kind=Suite),
            budget=decode(spec["budget"], kind=Budget),
            checkpoint=spec["checkpoint"],
            numerics=decode(spec["numerics"], kind=Numerics),
            others=tuple((Source(who), _training(store, name, data)) for who, name in spec["others"].items()),
        )
    except (KeyError, TypeError, AttributeError, BenchError) as error:
        if isinstance(error, (BadCheckpoint, BadValue)) and not isinstance(error, KeyError):
            raise
        raise _other_words(record, str(error)) from None
    if found.id != record.run_id:
        raise _other_words(record, f"it would be run {found.id}")
    return found


def _training(store: Store, name: str, data: str | None, label: str | None = None) -> TrainSpec:
    folder = store.model(name)
    if not (folder / "training.json").is_file():
        raise _no_weights(folder)
    return _described(store, name, data, label)


def _described(store: Store, name: str, data: str | None, label: str | None = None) -> TrainSpec:
    """A training as the store describes it; the weights of its parents need not be there."""
    folder = store.model(name)
    spec = spec_of_training(folder)
    defense: Any = decode(spec["defense"])
    training = TrainSpec(
        named=_named(defense, label),
        data=_data(spec, data or data_of(folder, spec["data_identity"])),
        data_identity=spec["data_identity"],
        architecture=spec["architecture"],
        budget=decode(spec["budget"], kind=Budget),
        recipe=decode(spec["recipe"], kind=Recipe),
        seed=spec["seed"],
        parents=tuple((role, _described(store, parent, data)) for role, parent in spec["parents"].items()),
        init=Init(Path(), spec["init"]) if "init" in spec else None,  # trained: nobody reads it again
        devices=spec.get("devices", 1),
        extra=Extra("", **spec["extra"]) if "extra" in spec else None,
    )
    if training.id != name:
        raise BadValue(
            f"the weights {name} are described in other words by this code, expected the code of then"
        )
    return training


def spec_of_training(folder: Path) -> Mapping[str, Any]:
    """What was trained in a folder.

    Raises:
        BadCheckpoint: it is not there, not whole, or damaged.
    """
    if not (folder / "spec.json").is_file():
        raise _no_weights(folder)
    try:
        found: dict[str, Any] = read_json(folder / "spec.json")["spec"]
        if content_id(found) != folder.name:
            raise ValueError("it is of another training")
    except (OSError, ValueError, KeyError, TypeError):
        raise BadCheckpoint(
            f"{folder / 'spec.json'} is missing, damaged or of another training", _TRAINS
        ) from None
    return found


_TRAINS = "bench run, which trains what is not there"


def _no_weights(folder: Path) -> BadCheckpoint:
    return BadCheckpoint(f"the weights {folder.name} are not in {str(folder.parent)!r}", _TRAINS)


def _named(defense: Any, label: str | None) -> Named:
    """The defense under the name that it had."""
    known = name_of(defense)
    if label is None or known.label == label:
        return known
    return Named(known.name, defense, label)


def _data(spec: Mapping[str, Any], given: str | None) -> str:
    """The name that leads to the data now; data of one's own may have moved."""
    held: str = spec["data"]
    if held.partition(":")[0] not in PREFIXES:
        if given is not None and given != held:
            raise BadValue(f"--data is {given!r}, but the run is of {held}, expected no --data")
        return held
    if given is None:
        raise BadValue(
            f"the run is of your own data, {held}, expected where they lie",
            f"--data {held.partition(':')[0]}:PATH",
        )
    given = parted(given)[0] + parted(held)[1]
    if source(given).name != held or identity(given) != spec["data_identity"]:
        raise BadValue(f"--data is {given!r}, which is not {held} as it was, expected the same data")
    return given


def _other_words(record: Record, why: str) -> BadValue:
    return BadValue(
        f"run {record.run_id} is described in other words by this code ({why}), expected the code of then"
        + (f", commit {record.provenance.commit}" if record.provenance.commit else ""),
        "bench run again with --rerun",
    )
