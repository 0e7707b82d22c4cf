"""What held, example by example, packed into a record and read from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.bitmap import packed, unpacked
from bench.core.digest import content_id
from bench.core.outcomes import Outcomes
from bench.errors import BadData, BadValue
from bench.records.record import Interval, Record, Verdicts
from bench.records.recount import wilson


def verdicts_of(column: Outcomes, worst: NDArray[np.bool_]) -> Verdicts:
    """The verdicts of a run; any of its columns knows the examples, and which were right when clean."""
    return Verdicts(ids_digest(column.ids), packed(column.correct), packed(worst))


def ids_digest(ids: NDArray[np.int64]) -> str:
    """What names the positions [n] of examples in their test set, in this order."""
    return content_id(ids.tolist())


def worst_case_of(record: Record) -> NDArray[np.bool_] | None:
    """What held [n] against every column, from the record alone; None where it does not say.

    Raises:
        BadData: the bitmap is damaged, or contradicts the record's own count.
    """
    if record.robust_examples is None or record.worst_case is None:
        return None
    return _checked(record, record.robust_examples.worst_case, record.worst_case.count, "worst_case")


def best_known_of(record: Record) -> NDArray[np.bool_] | None:
    """The same, against what was imported, too."""
    held = worst_case_of(record)
    for found in record.imported:
        robust = _checked(record, found.robust, found.alone.count, "imported")
        held = robust if held is None else held & robust
    return held


def held_in_all(records: Sequence[Record]) -> Interval | None:
    """The share of examples that held against every column of every record; None where one does not say.

    Raises:
        BadData: a bitmap is damaged, or contradicts its record's own count.
        BadValue: the records are of different examples.
    """
    ids = {record.robust_examples.ids: record.run_id for record in records if record.robust_examples}
    if len(ids) > 1:
        raise BadValue(
            f"runs {' and '.join(ids.values())} attacked different examples, expected the same ones",
            "a command for each suite",
        )
    held = [found for record in records if (found := worst_case_of(record)) is not None]
    if not held or len(held) < len(records):
        return None
    count, n = int(np.logical_and.reduce(held).sum()), len(held[0])
    low, high = wilson(count, n)
    return Interval(round(count / n, 6), round(max(0.0, low), 6), round(min(1.0, high), 6), count, n)


def _checked(record: Record, text: str, count: int, field: str) -> NDArray[np.bool_]:
    try:
        held = unpacked(text, record.examples)
    except ValueError as error:
        raise BadData(
            f"record {record.run_id} is damaged at {field}: {error}", "bench run again with --rerun"
        ) from None
    if int(held.sum()) != count:
        raise BadData(
            f"record {record.run_id} is damaged at {field}: {int(held.sum())} examples are marked and "
            f"{count} counted, expected as many",
            "bench run again with --rerun",
        )
    return held
