"""Boards as files: from records alone, and published only if every record can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from dataclasses import replace as replace_fields
from functools import cache
from pathlib import Path
from types import MappingProxyType

from bench.core.behind import CELL, TRAINING
from bench.core.digest import found_again, source_digests
from bench.core.files import read_bytes
from bench.core.listing import listing
from bench.core.succession import changed_modules
from bench.errors import BadData, BadValue, BenchError, StaleRecord
from bench.records.files import write_all
from bench.records.gathering import RECORDS as RECORDS
from bench.records.gathering import read_records as read_records
from bench.records.origin import for_others
from bench.records.record import Record, to_json
from bench.records.store import RunFolder
from bench.records.tally import differing as differing_from_examples
from bench.records.weights import LIMIT, WEIGHTS
from bench.report.board import board_files
from bench.report.exchange import Published

Digests = Callable[[Mapping[str, str]], Mapping[str, str]]
"""What was behind a record -> what is now."""

NOWHERE: Mapping[str, RunFolder] = MappingProxyType({})

NO_FILES: Mapping[str, bytes] = MappingProxyType({})
NO_WEIGHTS: Mapping[str, Mapping[str, bytes]] = MappingProxyType({})

LEAST = 200
"""Fewer examples say too little: half the width of an interval is then more than 7 points."""


def digests_now(then: Mapping[str, str]) -> Mapping[str, str]:
    """The digests of what was behind a record, where it is now, and of all that it imports."""
    return source_digests(found_again(then))


def publish(
    records: Sequence[Record],
    folder: Path,
    sources: Digests = digests_now,
    runs: Mapping[str, RunFolder] = NOWHERE,
    replace: bool = False,
    weights: Mapping[str, Mapping[str, bytes]] = NO_WEIGHTS,
) -> list[Path]:
    """Add records to the boards of a folder and write what changed; gives the paths of all its files.

    `runs`: run id -> the folder in which it was computed, where that is at hand: what follows from its
    examples is counted again. With `replace` a record takes the place of another of the same run. `weights`:
    run id -> the files of its networks, name below the folder -> content.

    Raises BenchError for a record that is stale, custom, failed, blocked, too weak, contradicted by its
    examples, or made from uncommitted code, and for one that is published with other content; then nothing is
    written.
    """
    if not records:
        raise BadData("no record was given to publish, expected at least one", "bench publish RUN_ID")
    wrong = {record.run_id: objections(record, sources, runs.get(record.run_id)) for record in records}
    refused = {run_id: why for run_id, why in wrong.items() if why}
    if refused:
        told = "; ".join(f"{run_id} {' and '.join(why)}" for run_id, why in refused.items())
        kind = StaleRecord if all(any(_STALE in w for w in why) for why in refused.values()) else BenchError
        raise kind(
            "not published, for a board holds complete runs of published suites by the committed code as "
            f"it is: {told}",
            "bench run --suite whitebox, with --rerun after committing",
        )
    known = {record.run_id: record for record in read_records(folder)} if (folder / RECORDS).is_dir() else {}
    records = [for_others(record) for record in records]
    if not replace:
        _require_no_other(records, known)
    merged = {**known, **{record.run_id: record for record in records}}
    files = {
        f"{RECORDS}/{record.run_id}.json": to_json(record)
        for record in records
        if known.get(record.run_id) != record
    }
    paths = [folder / RECORDS / f"{record.run_id}.json" for record in records]
    _add_weights(folder, [weights[record.run_id] for record in records if record.run_id in weights])
    written = _write(folder, {**board_files(list(merged.values())), **files})
    return list(dict.fromkeys([*written, *paths]))


def _add_weights(folder: Path, found: Sequence[Mapping[str, bytes]]) -> None:
    """Write those that are not there; they come before the records that name them."""
    files = {folder / name: content for held in found for name, content in held.items()}
    write_all({path: content for path, content in files.items() if not path.exists()})


def room_for(files: Mapping[str, bytes], folder: Path, taken: Mapping[str, bytes] = NO_FILES) -> bool:
    """Whether the weights of a folder stay within `LIMIT` with these files and those that are to come."""
    there = {f"{WEIGHTS}/{path.name}": path.stat().st_size for path in (folder / WEIGHTS).glob("*")}
    there |= {name: len(content) for name, content in {**taken, **files}.items()}
    return sum(there.values()) <= LIMIT


def objections(record: Record, sources: Digests = digests_now, run: RunFolder | None = None) -> list[str]:
    """Why a record cannot be on a published board; none where it can.

    `run`: the folder in which it was computed, where that is at hand.
    """
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
    why += _too_weak(record)
    if run is not None and (apart := list(differing_from_examples(record, run))):
        more = f", and {len(apart) - 1} more" if len(apart) > 1 else ""
        why.append(f"does not follow from what its run kept ({apart[0]}{more})")
    return why


def _too_weak(record: Record) -> Iterator[str]:
    """What a reader of a board must be able to rely on, whoever made the record."""
    if listing(record.suite).tries:
        yield f"is of {record.suite}, which shows that everything works and attacks too little"
    if record.examples < LEAST:
        yield f"is of {record.examples} examples, fewer than {LEAST}"
    own = record.spec.get("training", {}).get("id")
    if own is not None and own in record.spec.get("others", {}).values():
        yield "attacks with gradients of the victim under another name (rule A14)"


def _require_no_other(records: Sequence[Record], known: Mapping[str, Record]) -> None:
    """A published record stays: only an audit, and images of others, may be added to it."""
    for record in records:
        there = known.get(record.run_id)
        if there is None or there == record or _is_continued(there, record):
            continue
        names = [item.name for item in fields(Record)]
        other = [name for name in names if getattr(there, name) != getattr(record, name)]
        raise BadValue(
            f"run {record.run_id} is published with another content ({_told(there)} there, {_told(record)} "
            f"here; other fields: {', '.join(other)}), expected the same",
            "--replace, where the published one is to go",
        )


def _is_continued(there: Record, record: Record) -> bool:
    """Whether all that was published stands in a record, and more was only added."""
    as_before = replace_fields(record, audit=there.audit, imported=there.imported)
    if not {check.rule for check in there.audit} <= {check.rule for check in record.audit}:
        return False
    return as_before == there and record.imported[: len(there.imported)] == there.imported


def _told(record: Record) -> str:
    return "no worst case" if record.worst_case is None else f"{100 * record.worst_case.value:.1f} %"


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
    records = _published(folder)
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
    return read_bytes(path).decode("utf-8", errors="replace") if path.is_file() else None


def _write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write each file whole; those that would not change are left alone."""
    made = {folder / name: text for name, text in files.items()}
    write_all({path: text.encode() for path, text in made.items() if _text(path) != text})
    return list(made)
