"""Records where they lie: in a file, a folder of boards, or a store of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.errors import BadData
from bench.records.record import Record
from bench.records.store import read_record

RECORDS = "records"
"""The folder beside the boards that holds what they were made from."""

Skip = Callable[[BadData], None]
"""Told of each result that cannot be read."""


def read_records(place: Path, skip: Skip | None = None) -> list[Record]:
    """The records of one file, of a folder of boards, or of a store of runs; in the order of their ids.

    A file must be readable, and so must the record of a folder that is a run itself; of what else is not,
    `skip` is told.

    Raises:
        BadData: a record cannot be read, and was named or there is nobody to tell.
    """
    own = place if place.is_file() else place / "record.json"
    found = [read_record(own)] if own.is_file() else []
    for path in sorted([*place.glob(f"{RECORDS}/*.json"), *place.glob("*/record.json")]):
        try:
            found.append(_named_as_its_run(path))
        except BadData as error:
            if skip is None:
                raise
            skip(error)
    found.sort(key=lambda record: record.run_id)
    return list({record.run_id: record for record in found}.values())


def _named_as_its_run(path: Path) -> Record:
    """The record in a file of a store or of boards, which has the run's name, or its folder has."""
    record = read_record(path)
    name = path.stem if path.parent.name == RECORDS else path.parent.name
    if name != record.run_id:
        raise BadData(
            f"{path} holds the record of run {record.run_id}, expected that of {name[:40]!r}",
            "bench list runs",
        )
    return record
