"""Rows of boards: one training each, with its records under several suites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import fsum

from bench.core.listing import listing
from bench.core.traits import owed
from bench.errors import BadValue
from bench.records.follow_ups import chain
from bench.records.record import Balanced, Column, Finding, Interval, Record
from bench.records.verdicts import held_in_all
from bench.report.audit import signs
from bench.report.setting import suite_label

BEYOND_CHANCE = 6
"""Examples that only one of two attacks breaks, and the other none: from six on McNemar's test says 5 %."""


@dataclass(frozen=True)
class BoardRow:
    """One training."""

    records: tuple[Record, ...]
    worst: dict[str, tuple[Interval, str] | None]  # suite -> worst case and the column that broke most
    missing: dict[str, str]  # suite -> why it has no worst case, where that puts the row behind complete ones
    counted: frozenset[str]  # the suites that its rank is by

    @property
    def first(self) -> Record:
        """A record of it: all share the defense, its network and its seed."""
        return self.records[0]

    @property
    def name(self) -> str:
        """How notes name it."""
        told = [f"seed {self.first.seed}", self.first.trained_at]
        return f"{self.first.defense} ({', '.join(part for part in told if part)})"

    @property
    def trials(self) -> list[Column]:
        """The columns of all its records."""
        return [column for record in self.records for column in record.columns]

    @property
    def lowest(self) -> float | None:
        """The lowest that is known: of every suite, counted or not, and of images of others."""
        measured = [found[0].value for found in self.worst.values() if found]
        imported = [record.imported[-1].best_known.value for record in self.records if record.imported]
        return min([*measured, *imported], default=None)

    @property
    def shared(self) -> Interval | None:
        """The worst case over the suites that count; None: it has none of them."""
        found = [self.worst[suite] for suite in self.counted]
        return min((held[0] for held in found if held), key=lambda held: held.value, default=None)

    @property
    def in_all(self) -> Interval | None:
        """What holds against every column of all its records, example by example: never above `lowest`.

        None: a record has no worst case, or does not say what held.
        """
        return held_in_all(self.records)

    @property
    def met_more(self) -> bool:
        """Whether something that the rank does not count took it lower."""
        return self.shared is not None and self.lowest is not None and self.lowest < self.shared.value

    @property
    def has_a_hole(self) -> bool:
        """What no other row need have met took it below the interval that its rank would stand for.

        And not by an example or two: of few that stand, the interval's end is near one.
        """
        if self.shared is None or self.lowest is None:
            return False
        more = round((self.shared.value - self.lowest) * self.shared.n)  # fell, on the same examples
        return self.lowest < self.shared.low and more >= BEYOND_CHANCE

    @property
    def ranked(self) -> float | None:
        """What the rank is by: a figure whose interval is known to be wrong is no longer used."""
        return self.lowest if self.shared is None or self.has_a_hole else self.shared.value

    @property
    def best_known(self) -> Interval | None:
        """The same with its interval."""
        known = [record.best_known for record in self.records if record.best_known is not None]
        return min(known, key=lambda found: found.value, default=None)

    @property
    def balanced(self) -> Balanced | None:
        """The lowest mean over classes, over the suites that count; None: no record of these says it."""
        counted = [r.by_class for r in self.records if r.by_class and suite_label(r) in self.counted]
        return min((held.robust for held in counted if held.robust), key=lambda b: b.value, default=None)

    @property
    def traits(self) -> frozenset[str]:
        """What the defense is made of."""
        return frozenset(trait for record in self.records for trait in record.traits)

    @property
    def owed(self) -> tuple[str, ...]:
        """The traits that no attack on this training was made against."""
        return owed(self.traits, {trait for column in self.trials for trait in column.answers})

    @property
    def adaptive(self) -> str | None:
        """None: its records were made before traits were noted."""
        if not _traits_are_known(self.records):
            return None
        return "owed" if self.owed else "yes" if self.traits else "not needed"

    @property
    def masked(self) -> Finding | None:
        """A sign that gradients mislead: an attacker who sees less did better than all who see everything."""
        white = [r.worst_case for r in self.records if {c.level for c in r.columns} == {"white-box"}]
        everything = min((found.value for found in white if found), default=None)
        less = [
            (column.robust.value, column.name, column.level)
            for record in self.records
            for column in record.columns
            if column.robust and not any(c.level == "white-box" for c in chain(column, record.columns))
        ]
        if everything is None or not less or min(less)[0] >= everything:
            return None
        value, name, level = min(less)
        detail = f"{name} leaves {100 * value:.1f} %, all white-box attacks together {100 * everything:.1f} %"
        return Finding(f"{level}-beats-white-box", "warn", detail)

    @property
    def codes(self) -> list[str]:
        """Codes of findings, and rules that its audits found broken beyond those."""
        codes = {sign for record in self.records for sign in signs(record)}
        return sorted(codes | {self.masked.code} if self.masked else codes)

    @property
    def forwards(self) -> float:
        """Passes for each example, of all columns together."""
        return _sum(column.forwards or 0.0 for column in self.trials)

    @property
    def backwards(self) -> float:
        """The same backwards."""
        return _sum(column.backwards or 0.0 for column in self.trials)

    @property
    def seconds(self) -> float:
        """Of all attacks."""
        return _sum(column.seconds for column in self.trials)

    @property
    def score(self) -> tuple[bool, float]:
        """Equal scores share a rank; a lower one is better."""
        return bool(self.missing), -(self.ranked if self.ranked is not None else -1.0)

    @property
    def order(self) -> tuple[tuple[bool, float], str, int, str, str]:
        """The place on the board, whatever the order of records."""
        first = self.first
        return self.score, first.defense, first.seed, first.architecture, first.run_id


def rows_of(records: Sequence[Record], suites: Sequence[str]) -> list[BoardRow]:
    """The rows of distinct records, the best first.

    Raises BadValue for two records of one training under one suite.
    """
    found: dict[tuple[str, int, str, str], list[Record]] = {}
    for record in records:
        training = record.training.training_id if record.training else ""
        key = (record.defense, record.seed, record.architecture, training)
        found.setdefault(key, []).append(record)
    counted = counted_among(suites, found.values())
    return sorted((_row(group, suites, counted) for group in found.values()), key=lambda row: row.order)


def counted_among(suites: Sequence[str], trainings: Collection[Sequence[Record]]) -> frozenset[str]:
    """The suites that ranks are by: those that more than half of the trainings were put under.

    So nobody sinks for having met an attack that others were spared, nobody rises by leaving out what most
    have met, and one row alone changes nothing. Where no suite is that common, the most common ones count.
    Adaptive suites are asked of who owes them, so they count for all only where all met them.
    """
    met = Counter(suite for group in trainings for suite in {suite_label(record) for record in group})
    everybodys = [s for s in suites if listing(s).asked_of == "all" or met[s] == len(trainings)]
    common = everybodys or suites
    most = [suite for suite in common if 2 * met[suite] > len(trainings)]
    highest = max((met[suite] for suite in common), default=0)
    return frozenset(most or [suite for suite in common if met[suite] == highest])


def ranks_of(rows: Sequence[BoardRow]) -> list[int]:
    """From 1; rows of equal figures share a rank, and the next one is counted on.

    >>> from types import SimpleNamespace
    >>> ranks_of([SimpleNamespace(score=(False, -share)) for share in (0.5, 0.4, 0.4, 0.3)])
    [1, 2, 2, 4]
    """
    ranks: list[int] = []
    for place, row in enumerate(rows):
        tied = place > 0 and row.score == rows[place - 1].score
        ranks.append(ranks[-1] if tied else place + 1)
    return ranks


def _row(group: Sequence[Record], suites: Sequence[str], common: frozenset[str]) -> BoardRow:
    by_suite: dict[str, Record] = {}
    for record in group:
        suite = suite_label(record)
        if suite in by_suite:
            raise BadValue(
                f"records {by_suite[suite].run_id} and {record.run_id} are both {record.defense} "
                f"(seed {record.seed}) under {suite}, expected one of them"
            )
        by_suite[suite] = record
    # of whom nobody noted what it is made of, no adaptive attack is asked either
    is_known = any(record.traits for record in group)
    asked = {suite for suite in suites if listing(suite).asked_of == "owing" and is_known}
    worst: dict[str, tuple[Interval, str] | None] = {}
    missing: dict[str, str] = {}
    for suite in suites:
        worst[suite] = None
        record_of_it = by_suite.get(suite)
        why = _lack(record_of_it)
        if why and (suite in common | asked or why not in (_NOT_RUN, _NO_WORST_CASE)):
            missing[suite] = why
        if record_of_it is not None and record_of_it.worst_case is not None:
            worst[suite] = record_of_it.worst_case, _broke_most(record_of_it)
    return BoardRow(tuple(group), worst, missing, common | asked)


def _broke_most(record: Record) -> str:
    """The column that itself broke most, the first by name of several; empty where none broke anything."""
    broke = {column.name: column.broke for column in record.columns if column.broke}
    return min(broke, key=lambda name: (-broke[name], name), default="")


_NOT_RUN, _NO_WORST_CASE = "was not run", "has no worst case"


def _lack(record: Record | None) -> str | None:
    """Why a suite's record does not make a row complete."""
    if record is None:
        return _NOT_RUN
    failed = [column.name for column in record.columns if column.error is not None]
    if failed:
        return f"failed in {', '.join(failed)}"
    return None if record.worst_case is not None else _NO_WORST_CASE


def _sum(figures: Iterable[float]) -> float:
    return round(fsum(figures), 6)


def _traits_are_known(records: Sequence[Record]) -> bool:
    return any(record.eot_samples is not None for record in records)
