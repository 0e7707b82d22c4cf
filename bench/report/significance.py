"""Which rows of a board are the best beyond chance, tested in pairs on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.core.paired import Difference, holm, mcnemar, paired_differences
from bench.errors import BadValue
from bench.records.record import Record
from bench.records.verdicts import worst_case_of
from bench.report.setting import unlike

LEVEL = 0.05
"""The chance of calling anything in a table different that is not."""

Held = NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """Two of several methods on the same examples."""

    one: str
    other: str
    difference: Difference  # of one over the other
    p: float  # of the exact McNemar test
    adjusted: float  # by Holm, for all the pairs of the table

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, for a table of that many."""
        return self.adjusted < LEVEL


@dataclass(frozen=True)
class Best:
    """Who may be printed in bold."""

    rows: frozenset[str]  # not significantly worse than the highest; the highest among them
    untested: frozenset[str]  # nothing is known of their single examples

    @property
    def alone(self) -> bool:
        """Whether one row is better than every other, beyond chance."""
        return len(self.rows) == 1 and not self.untested


def pairs(held: Mapping[str, Held], wanted: Sequence[tuple[str, str]] | None = None) -> list[Pair]:
    """Every two of these methods, or those two that are wanted; with Holm over all of them.

    `held`: name -> what the method kept, [n].
    """
    names = list(combinations(held, 2)) if wanted is None else wanted
    if not names:
        return []
    place = {name: number for number, name in enumerate(held)}
    found = paired_differences(np.stack(list(held.values())), [(place[a], place[b]) for a, b in names])
    p_values = [mcnemar(difference.won, difference.lost) for difference in found]
    return [
        Pair(one, other, difference, p, adjusted)
        for (one, other), difference, p, adjusted in zip(names, found, p_values, holm(p_values), strict=True)
    ]


def best(held: Mapping[str, Held | None]) -> Best:
    """The highest of these rows, and those that are not worse beyond chance; None: not known by example.

    Each row is tested against the highest, with Holm over these tests. Without two rows that can be tested
    nobody is the best.
    """
    known = {name: kept for name, kept in held.items() if kept is not None}
    untested = frozenset(held) - frozenset(known)
    if len(known) < 2:
        return Best(frozenset(), untested)
    first = max(known, key=lambda name: int(known[name].sum()))
    others = [name for name in known if name != first]
    adjusted = holm([_p_value(known[first], known[name]) for name in others])
    worse = {name for name, p in zip(others, adjusted, strict=True) if p < LEVEL}
    return Best(frozenset(known) - worse, untested)


def best_records(records: Sequence[Record]) -> Best:
    """The same for the worst cases of records, by run id.

    Raises:
        BadValue: they differ in data, norm, eps, n or suite, so must not be ranked together.
    """
    for other in records[1:]:
        if told := unlike(records[0], other):
            raise BadValue(f"records {records[0].run_id} and {other.run_id} cannot be compared: {told}")
    return best({record.run_id: worst_case_of(record) for record in records})


def _p_value(one: Held, other: Held) -> float:
    """Of the exact McNemar test; pairs with one row alone need no table of all."""
    return mcnemar(int((one & ~other).sum()), int((other & ~one).sum()))
