"""Columns that go on from others: whose work their accuracy is, and what older records say of them.

Records once gave a column that goes on from others a success rate and queries over all that was right when
clean, so what others had broken counted as broken by it, for no query. They did not keep what it met; it is
what the column before it left standing, so it follows from them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from bench.core.names import current
from bench.records.record import Column, Record


def chain(column: Column, columns: Sequence[Column]) -> list[Column]:
    """The columns whose work a column's accuracy is, in their order: those it goes on from, then itself."""
    by_name = {other.name: other for other in columns}
    found, asked = {column.name}, [column]
    while asked:
        names = (asked.pop().after or "").split(", ")
        asked += [by_name[name] for name in names if name in by_name and name not in found]
        found |= {name for name in names if name in by_name}
    return [*(other for other in columns if other.name in found - {column.name}), column]


def noted(record: Record) -> Record:
    """The record with what its columns met and broke, where it was made before that was noted.

    What does not follow exactly is None: the median of a column that goes on from others, unless it met two
    examples at most, and its mean where rounding hides the sum. So are queries to a defense that answers its
    attacker nothing: they were passes through the attacker's own network.
    """
    if not any(column.robust is not None and column.met is None for column in record.columns):
        return record
    trials = {trial.get("column"): trial for trial in record.spec.get("suite", {}).get("trials", ())}
    columns: list[Column] = []
    before: Column | None = None
    for column in record.columns:
        if column.robust is None:
            columns.append(column)
            continue
        trial = trials.get(column.name, {})
        goes_on = current(str(trial.get("is", ""))) == "sequel"
        columns.append(_noted(column, before if goes_on else None, record.clean.count, trial))
        before = column
    return dataclasses.replace(record, columns=tuple(columns))


def _noted(column: Column, before: Column | None, right: int, trial: Mapping[str, Any]) -> Column:
    """A computed column; `right`: examples that are right when clean."""
    assert column.robust is not None
    left = before.robust if before is not None else None
    met = right if left is None else left.count
    changes: dict[str, Any] = {"met": met, "broke": met - column.robust.count}
    if before is not None:
        mean = _mean(column.queries_mean, right, met)
        changes |= {
            "after": before.name,
            "attack_success_rate": round(1 - column.robust.count / met, 6) if met else None,
            "queries_mean": mean,
            "queries_median": mean if met <= 2 else None,  # of two numbers they are the same
        }
    if not met or trial.get("knowledge", {}).get("feedback") == "nothing":
        changes |= {"queries_mean": None, "queries_median": None}
    return dataclasses.replace(column, **changes)


def _mean(over_all: float | None, right: int, met: int) -> float | None:
    """The mean over what was met, from that over all right when clean, where the others cost nothing.

    Their sum is whole; None where more than one whole number has that mean, to three decimals.
    """
    if over_all is None or not met:
        return None
    told, half = Fraction(str(over_all)), Fraction(1, 2000)
    least, most = math.ceil((told - half) * right), math.floor((told + half) * right)
    return round(least / met, 3) if least == most else None
