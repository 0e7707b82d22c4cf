"""Boards as files: from records alone, and published only if every record can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from bench.core.behind import CELL, TRAINING
from bench.core.digest import found_again, source_digests
from bench.core.succession import changed_modules
from bench.errors import BadData, BenchError, StaleRecord
from bench.records.files import write_all
from bench.records.origin import for_others
from bench.records.record import Record, to_json
from bench.records.store import read_record
from bench.report.board import board_files
from bench.report.exchange import Published

Digests = Callable[[Mapping[str, str]], Mapping[str, str]]
"""What was behind a record -> what is now."""

RECORDS = "records"
"""The folder beside the boards that holds what they were made from."""


def digests_now(then: Mapping[str, str]) -> Mapping[str, str]:
    """The digests of what was behind a record, where it is now, and of all that it imports."""
    return source_digests(found_again(then))


def publish(records: Sequence[Record], folder: Path, sources: Digests = digests_now) -> list[Path]:
    """Add records to the boards of a folder and write what changed; gives the paths of all its files.

    Raises BenchError for a record that is stale, custom, failed, blocked, or made from uncommitted code; then
    nothing is written.
    """
    if not records:
        raise BadData("no record was given to publish, expected at least one", "bench publish RUN_ID")
    refused = {record.run_id: why for record in records if (why := objections(record, sources))}
    if refused:
        told = "; ".join(f"{run_id} {' and '.join(why)}" for run_id, why in refused.items())
        kind = StaleRecord if all(any(_STALE in w for w in why) for why in refused.values()) else BenchError
        raise kind(
            f"not published, for a board holds only complete runs of the committed code as it is: {told}",
            "bench run ... --rerun after committing",
        )
    known = read_records(folder) if (folder / RECORDS).is_dir() else []
    records = [for_others(record) for record in records]
    merged = {record.run_id: record for record in [*known, *records]}
    files = {f"{RECORDS}/{record.run_id}.json": to_json(record) for record in records}
    return _write(folder, {**board_files(list(merged.values())), **files})


def objections(record: Record, sources: Digests = digests_now) -> list[str]:
    """Why a record cannot be on a published board; none where it can."""
    why = []
    made = record.provenance
    now = sources(made.sources)
    changed = changed_modules(made.sources, now, randomized=record.draws > 1)
    if changed:
        more = f" and {len(changed) - 1} more have" if len(changed) > 1 else " has"
        why.append(f"{_STALE} ({changed[0]}{more} changed since)")
    if made.dirty is None or made.commit is None:
        why.append("was made outside a git checkout, so nobody can find its code")
    elif made.dirty:
        why.append("was made from uncommitted code")
    if record.custom:
        why.append(f"is custom ({record.why_custom})")
    failed = [column.name for column in record.columns if column.error is not None]
    if failed or record.status != "complete":
        why.append(f"failed in {', '.join(failed)}" if failed else "is not complete")
    why += [f"is blocked by {found.code}" for found in record.findings if found.severity == "block"]
    why += [
        f"is blocked by rule {check.rule} of its audit" for check in record.audit if check.verdict == "block"
    ]
    return why


def is_fresh(record: Record) -> bool:
    """Whether the code of now would answer with a record: all that is behind it is as it was."""
    now = _digests(frozenset(found_again(record.provenance.sources)))
    return not changed_modules(record.provenance.sources, now, randomized=record.draws > 1)


@cache
def _digests(modules: frozenset[str]) -> Mapping[str, str]:
    """Of these and of what computes runs; read once for all records of one method."""
    return source_digests([*modules, *TRAINING, *CELL])


def freshness(folder: Path) -> str:
    """How many of the records behind the boards of a folder are of the code of now."""
    records = read_records(folder)
    return f"{sum(map(is_fresh, records))} of {len(records)} records are fresh"


def write_board(records: Sequence[Record], folder: Path, published: Sequence[Published] = ()) -> list[Path]:
    """Boards of whatever records there are, marked local in their first line: to look at, not to publish."""
    return _write(folder, board_files(records, local=True, published=published))


def differing(folder: Path) -> list[Path]:
    """The boards of a published folder that its own records do not make, byte by byte; missing ones too."""
    made = board_files(_published(folder))
    wrong = [folder / name for name, text in made.items() if _text(folder / name) != text]
    extra = [
        path
        for path in sorted([*folder.glob("*.md"), *folder.glob("*.csv")])
        if path.name not in made and path.name != "README.md"
    ]
    return wrong + extra


def rebuild(folder: Path) -> list[Path]:
    """Write the boards of a published folder again, from its records."""
    return _write(folder, board_files(_published(folder)))


def read_records(place: Path) -> list[Record]:
    """The records of one file, of a folder of boards, or of a store of runs; in the order of their ids."""
    if place.is_file():
        return [read_record(place)]
    paths = [*place.glob(f"{RECORDS}/*.json"), *place.glob("record.json"), *place.glob("*/record.json")]
    found = {}
    for path in sorted(paths):
        record = read_record(path)
        found[record.run_id] = record
    return [found[run_id] for run_id in sorted(found)]


_STALE = "is stale"


def _published(folder: Path) -> list[Record]:
    """The records behind the boards of a folder; BadData if there are none: nothing follows from nothing."""
    found = read_records(folder)
    if not found:
        raise BadData(
            f"{str(folder)!r} holds no record, expected published boards with their {RECORDS} folder",
            "bench publish RUN_ID",
        )
    return found


def _text(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else None


def _write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write each file whole; those that would not change are left alone."""
    made = {folder / name: text for name, text in files.items()}
    write_all({path: text.encode() for path, text in made.items() if _text(path) != text})
    return list(made)
