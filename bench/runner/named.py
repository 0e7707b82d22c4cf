"""Networks of others by the names that a store knows them by: a label, a run's id, or `loaded`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.digest import file_sha256
from bench.core.encoding import decode
from bench.errors import BadData, BadValue
from bench.records.gathering import read_records
from bench.records.labels import network_named
from bench.records.origin import origin_of
from bench.records.record import Record
from bench.records.store import Store
from bench.runner.origins import give_code_of
from bench.runner.spec_of_record import spec_of_training
from bench.train.at_hand import AtHand, Shelf


def shelf_of(store: Store) -> Shelf:
    """All networks of others that runs of a store have judged."""

    def find(name: str) -> AtHand | None:
        records = network_named(name, read_records(store.root, skip=_leave_out))
        return _at_hand(records, store) if records else None

    return Shelf(find)


def _leave_out(unreadable: BadData) -> None:
    """A record that cannot be read names no network; `bench list runs` tells of it."""


def _at_hand(records: Sequence[Record], store: Store) -> AtHand:
    record = records[0]
    try:
        give_code_of(record, store)
    except BadValue as error:
        label = f" --label {record.defense}" if "[" not in record.defense else ""
        raise BadValue(
            error.message, f"bench run --defense loaded --checkpoint FILE --factory FILE.py:NAME{label}"
        ) from None
    folder = store.model(record.spec["training"]["id"])
    spec = spec_of_training(folder)
    defense: Any = decode(spec["defense"])
    return AtHand(
        label=record.defense,
        defense=defense,
        architecture=spec["architecture"],
        sha256=spec["init"],
        path=_still(origin_of(folder).checkpoint, spec["init"]),
        trainings=frozenset(one.spec["training"]["id"] for one in records),
    )


def _still(place: str | None, sha256: str) -> Path | None:
    """Where the weights' file was, if the same weights still lie there."""
    if place is None or not Path(place).is_file():
        return None
    return Path(place) if file_sha256(Path(place)) == sha256 else None
