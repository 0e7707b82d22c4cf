"""Results held against each other, ranked, and read from where they are kept; torch is not loaded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from bench.cli.compare import held_together, networks_of
from bench.cli.select import alike
from bench.errors import BadData, BadValue
from bench.interface.result import Given, Result, Results
from bench.interface.shown import Shown
from bench.publish import read_records
from bench.records.record import Record
from bench.records.store import Store
from bench.report.board import board as board_of
from bench.report.setting import by_setting
from bench.runner.options import Options


def compare(given: Iterable[Given]) -> Shown:
    """See bench.compare."""
    results = [_result(one, "bench.compare(a, b)") for one in given]
    records = alike({one.record.run_id: [one.record] for one in results})
    stores = {one.record.run_id: one.how.store.root for one in results if one.how is not None}
    tables, sentences = held_together(networks_of(records, stores))
    return Shown(tuple(tables), tuple(sentences))


def board(given: Iterable[Given]) -> Shown:
    """See bench.board."""
    records = [_result(one, "bench.board([a, b])").record for one in given]
    if not records:
        raise BadValue("there is no result to rank, expected at least one", "bench.board([result])")
    return Shown(tuple(board_of(group) for group in by_setting(records)))


def load_records(places: Iterable[str | Path]) -> Results:
    """See bench.load_records."""
    found = {}
    for place in map(Path, places):
        if not place.exists():
            raise BadData(f"{str(place)!r} does not exist, expected a record's file or a folder of records")
        found.update({record.run_id: _read(record, place) for record in read_records(place, _left_out)})
    return Results(tuple(found[run_id] for run_id in sorted(found)))


def _left_out(error: BadData) -> None:
    warnings.warn(f"left out: {error.message}", stacklevel=4)


def _read(record: Record, place: Path) -> Result:
    """The record, with the store that it lies in if it has a folder there."""
    is_run = (place / record.run_id / "record.json").is_file()
    return Result(record, Options(Store(place)) if is_run else None)


def _result(given: object, hint: str) -> Result:
    if isinstance(given, (Result, Record)):
        return given if isinstance(given, Result) else Result(given)
    if isinstance(given, Results):
        raise BadValue(f"there are {len(given)} results in the place of one, expected one of them", hint)
    raise BadValue(
        f"there is something of type {type(given).__name__}, expected results of bench.run, bench.evaluate "
        "or bench.load_records",
        hint,
    )
