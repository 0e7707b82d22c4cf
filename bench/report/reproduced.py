"""A record beside another of the same command: is what came out again what was told?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.core.paired import mcnemar, paired_difference
from bench.records.record import Column, Interval, Record
from bench.records.verdicts import worst_case_of
from bench.report.render import ColumnKind, Table, TableColumn, points, terminal

SURE = 0.01
"""The p value below which another network than the record's is said to be apart from it."""


@dataclass(frozen=True)
class Reproduced:
    """A record, and the one that its command gave now."""

    record: Record
    again: Record

    @property
    def same_weights(self) -> bool:
        """Whether both attacked the same network, bit for bit."""
        then, now = self.record.training, self.again.training
        return then is not None and now is not None and then.sha256 == now.sha256

    @property
    def p(self) -> float | None:
        """Of McNemar's test on the worst case; None: one of them does not say which images held."""
        then, now = worst_case_of(self.record), worst_case_of(self.again)
        if then is None or now is None or len(then) != len(now):
            return None
        return mcnemar(int((now & ~then).sum()), int((then & ~now).sum()))

    @property
    def holds(self) -> bool:
        """The same network: the same verdicts. Another one: not apart beyond chance."""
        if self.again.status != "complete" or self.p is None:
            return False
        if self.same_weights:
            return self.differ == 0
        return self.p >= SURE

    @property
    def differ(self) -> int | None:
        """How many images held against one and not against the other."""
        then, now = worst_case_of(self.record), worst_case_of(self.again)
        return None if then is None or now is None or len(then) != len(now) else int((then != now).sum())

    def text(self) -> str:
        """The table of both, column by column, and what follows."""
        return terminal(self._table())

    def plain(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            "record": self.record.run_id,
            "again": self.again.run_id,
            "same_weights": self.same_weights,
            "holds": self.holds,
            "p": self.p,
            "differ": self.differ,
            "columns": [
                {"column": name, "record": _share(then), "again": _share(now)}
                for name, then, now in self._columns()
            ],
        }

    def _table(self) -> Table:
        columns = (
            TableColumn("column", "column"),
            TableColumn("robust accuracy %, record", "record", ColumnKind.INTERVAL),
            TableColumn("again", "again", ColumnKind.INTERVAL),
            TableColumn("points", "points", ColumnKind.POINTS),
        )
        rows = [(name, _robust(then), _robust(now), _apart(then, now)) for name, then, now in self._columns()]
        rows.append(("worst case", self.record.worst_case, self.again.worst_case, self._difference()))
        return Table(f"run {self.record.run_id} again", columns, tuple(rows), notes=tuple(self._notes()))

    def _notes(self) -> list[str]:
        then, now = worst_case_of(self.record), worst_case_of(self.again)
        whose = "the same weights" if self.same_weights else "other weights: training rounds otherwise here"
        if then is None or now is None or self.p is None:
            return [whose, "one of them does not say which images held, so nothing can be tested"]
        if self.same_weights:
            verdict = "every verdict is the record's" if self.holds else f"{self.differ} verdicts differ"
        else:
            apart = "no more than chance allows" if self.holds else "more than chance allows"
            verdict = f"{points(paired_difference(now, then))} points, p = {self.p:.2g}: {apart}"
        return [whose, f"worst case: {verdict}"]

    def _difference(self) -> float | None:
        then, now = self.record.worst_case, self.again.worst_case
        return None if then is None or now is None else now.value - then.value

    def _columns(self) -> list[tuple[str, Column | None, Column | None]]:
        now = {column.name: column for column in self.again.columns}
        return [(column.name, column, now.get(column.name)) for column in self.record.columns]


def _share(column: Column | None) -> float | None:
    return None if column is None or column.robust is None else column.robust.value


def _robust(column: Column | None) -> Interval | None:
    return None if column is None else column.robust


def _apart(then: Column | None, now: Column | None) -> float | None:
    before, after = _share(then), _share(now)
    return None if before is None or after is None else after - before
