"""Whose number on a board may be bold: what paired tests allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.errors import BadValue
from bench.records.record import Record
from bench.records.verdicts import worst_case_of
from bench.report.rows import BoardRow
from bench.report.setting import suite_label
from bench.report.significance import best, best_records
from bench.site.board_view import RANKED

Bold = Mapping[str, frozenset[str]]
"""Column -> the runs whose number may be bold; of the column that ranks, the first run of each training."""


def tested(rows: Sequence[BoardRow], suites: Sequence[str]) -> tuple[Bold, list[str]]:
    """Who may be bold in each column, and why nobody is."""
    bold: dict[str, frozenset[str]] = {}
    silent: list[str] = []
    for suite in suites:
        met = [record for row in rows for record in row.records if suite_label(record) == suite]
        bold[suite], why = _allowed(met)
        silent += [f"nothing is bold under {suite}: {why}"] if why else []
    bold[RANKED] = _best_ranked(rows)
    return bold, silent


def _allowed(records: Sequence[Record]) -> tuple[frozenset[str], str | None]:
    """The runs that are not worse than the highest beyond chance; or nobody, and why."""
    if len(records) < 2:
        return frozenset(), None
    try:
        found = best_records(records)
    except BadValue as error:
        return frozenset(), error.message
    if found.untested:
        return frozenset(), f"{len(found.untested)} of {len(records)} do not say which images they kept"
    if len(found.rows) == len(records):
        return frozenset(), "no row is worse than another beyond chance"
    return found.rows, None


def _best_ranked(rows: Sequence[BoardRow]) -> frozenset[str]:
    """The same of the numbers that rank, each from the suite that it is the worst case of."""
    behind = {row.first.run_id: _behind(row) for row in rows}
    known = [record for record in behind.values() if record is not None]
    ids = {record.robust_examples.ids for record in known if record.robust_examples}
    if len(known) < len(rows) or len(ids) != 1:
        return frozenset()
    found = best({key: worst_case_of(record) for key, record in behind.items() if record is not None})
    return frozenset() if found.untested or len(found.rows) == len(rows) else found.rows


def _behind(row: BoardRow) -> Record | None:
    """The record whose worst case a training is ranked by; None: it is ranked by images of others."""
    return next((r for r in row.records if r.worst_case and r.worst_case.value == row.ranked), None)
