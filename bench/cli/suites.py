"""What a run under one suite or several is told by: of several, one table, one document, one worst case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.cli.board import width
from bench.errors import BadValue
from bench.records.record import Interval, Record, to_json
from bench.report.junit import junit, junit_of_suites
from bench.report.render import percent, terminal
from bench.report.suites import over_suites, suites_json, suites_table
from bench.report.table import run_table


def require_one_ground(of: Iterable[tuple[str, str, int | None]]) -> None:
    """Refuse suites that attack other examples than the first: no worst case would be over all of them.

    `of`: of each suite its id, its data, and how many examples it attacks, None for the whole test set.
    """
    (first, data, n), *others = of
    for other, its_data, its_n in others:
        if its_data != data:
            raise BadValue(
                f"{first} would attack {data} and {other} {its_data}, because attackers of one of them train "
                "networks on some of its images, expected suites that attack the same images",
                "a command for each suite",
            )
        if its_n != n:
            raise BadValue(
                f"{first} is of {_told(n)} and {other} of {_told(its_n)}, expected one number for all suites",
                f"--examples {min(one for one in (n, its_n) if one)}",
            )


def shown(records: Sequence[Record], as_json: bool) -> str:
    """What the command prints: a run's table or its record, or what the runs of several suites make."""
    if len(records) == 1:
        return to_json(records[0]) if as_json else terminal(run_table(records[0]), width())
    return suites_json(records) if as_json else terminal(suites_table(records), width())


def as_junit(records: Sequence[Record], missed: str | None) -> str:
    """The columns of all as one report for forges."""
    return junit(records[0], missed) if len(records) == 1 else junit_of_suites(records, missed)


def worst_case(records: Sequence[Record]) -> Interval | None:
    """What holds against every column of all of them; None: that is not known."""
    return records[0].worst_case if len(records) == 1 else over_suites(records).in_all


def came_to(record: Record) -> str:
    """A suite in one line, for who waits for the others."""
    found = record.worst_case
    return f"{record.suite}: {f'{percent(found)} % in the worst case' if found else 'no worst case'}"


def _told(examples: int | None) -> str:
    return "the whole test set" if examples is None else f"{examples:,} examples"
