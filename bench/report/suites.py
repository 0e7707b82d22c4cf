"""One training under several suites: a section for each, and what holds against all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bench.core.json_file import parse_json
from bench.core.text import listed
from bench.records.record import Record, to_json
from bench.records.seal import sealed
from bench.report import table
from bench.report.render import Cell, Table, percent
from bench.report.rows import BoardRow, rows_of
from bench.report.setting import in_order, shared, suite_label

KIND, SCHEMA = "suites", 1
"""What the JSON document says that it is."""


def suites_table(records: Sequence[Record]) -> Table:
    """The columns of every suite up to its worst case, then the worst case over all, with what it cost.

    A sentence that holds for some suites alone begins with their names.
    """
    row, first = over_suites(records), records[0]
    rows: list[tuple[Cell, ...]] = []
    for record in records:
        clean, *others = table.rows(record, whole=record.suite)
        if not rows or record.clean != first.clean:  # draws of a randomized defense are another run's
            rows.append(clean)
        rows += others
    return Table(
        f"{first.defense} under {listed([_told(record) for record in records])}",
        table.COLUMNS,
        (*rows, _whole(row)),
        (*table.facts(first)[:-1], ("runs", ", ".join(map(_run, records)))),
        (*_over_all(row), *_notes(records)),
    )


def over_suites(records: Sequence[Record]) -> BoardRow:
    """The row that a board has of them, its records in the given order.

    Raises:
        BadValue: they do not share data, budget and examples, or are two under one suite.
    """
    shared(records)
    (row,) = rows_of(records, in_order(map(suite_label, records)))
    return row


def suites_json(records: Sequence[Record]) -> str:
    """The same for scripts: the worst case over all, and every record as its own file has it."""
    row, place = over_suites(records), shared(records)
    return sealed(
        {
            "kind": KIND,
            "schema": SCHEMA,
            "defense": row.first.defense,
            "data": place.data,
            "norm": place.norm,
            "eps": row.first.eps,
            "examples": place.n,
            "seed": row.first.seed,
            "suites": [suite_label(record) for record in records],
            "worst_case": asdict(row.in_all) if row.in_all else None,
            "why_none": lacking(row),
            "lowest": row.lowest,
            "forwards": row.forwards,
            "backwards": row.backwards,
            "seconds": row.seconds,
            "findings": [asdict(row.masked)] if row.masked else [],
            "owed": list(row.owed),
            "records": [parse_json(to_json(record)) for record in records],
        }
    )


def lacking(row: BoardRow) -> str | None:
    """Why there is no worst case over all; None: there is one."""
    if row.in_all is not None:
        return None
    why = [f"{suite} {what}" for suite, what in row.missing.items()]
    old = [r.suite for r in row.records if r.worst_case is not None and r.robust_examples is None]
    return "; ".join([*why, *(f"{suite} does not say which examples held" for suite in old)])


def _whole(row: BoardRow) -> tuple[Cell, ...]:
    """The last row: its cost is that of all suites together."""
    cells: dict[str, Cell] = {
        "column": table.WORST,
        "knowledge": "all suites",
        "robust_accuracy": row.in_all,
        "forwards": row.forwards,
        "backwards": row.backwards,
        "seconds": row.seconds,
        "note": lacking(row),
    }
    return tuple(cells.get(column.name) for column in table.COLUMNS)


def _over_all(row: BoardRow) -> list[str]:
    """What is known of all suites together and of none alone."""
    notes = [table.told_of(row.masked)] if row.masked else []
    if (found := row.in_all) is not None:
        alone = min((held[0] for held in row.worst.values() if held), key=lambda held: held.value)
        notes.append(
            f"all suites: {found.count:,} of {found.n:,} examples hold against every column of every suite, "
            f"after {row.forwards:,.1f} forwards and {row.backwards:,.1f} backwards for each example; no "
            f"suite alone leaves less than {percent(alone)} %"
        )
    return notes


def _notes(records: Sequence[Record]) -> list[str]:
    """What is said of each: once where it holds for all, else after the names of those that it is said of."""
    columns = [column for record in records for column in record.columns]
    said: dict[str, list[str]] = {}
    for record in records:
        for note in table.notes(record, columns):
            said.setdefault(note, []).append(record.suite)
    return [
        note if len(suites) == len(records) else f"{', '.join(suites)}: {note}"
        for note, suites in said.items()
    ]


def _told(record: Record) -> str:
    return f"{record.suite}{' (custom)' if record.custom else ''}"


def _run(record: Record) -> str:
    failed = "" if record.status == "complete" else " (failed)"
    return f"{record.suite} {record.run_id}{failed}"
