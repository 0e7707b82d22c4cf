"""The result of a run, to look at: a record, with what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from bench.cli.console import tidy
from bench.core.json_file import parse_json
from bench.errors import BadData
from bench.interface.shown import Shown
from bench.records.evidence import images
from bench.records.record import Interval, Record
from bench.report.frame import frame
from bench.report.suites import lacking, over_suites, suites_table
from bench.report.table import run_table
from bench.runner.options import Options

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class BrokenImages:
    """The adversarial images of a run's worst case: of each example that fell, that of one attack."""

    x: NDArray[np.float32]  # [m, C, H, W], inside budget and box
    ids: NDArray[np.int64]  # [m] positions in the test set, or in the arrays that were given
    labels: NDArray[np.int64]  # [m] the right ones
    columns: tuple[str, ...]  # of each, the first column that broke it

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a run established; a notebook shows it as a table, `print` as the command does."""

    record: Record
    how: Options | None = None  # where it lies and what computes; None: the record is all there is
    held: tuple[object, ...] = ()  # network and arrays in memory, which live as long as this

    @property
    def worst_case(self) -> Interval:
        """The share of all n examples that hold against every column: .value, .low, .high, .count, .n.

        Raises:
            BadData: there is none, because a column failed.
        """
        if self.record.worst_case is None:
            failed = [f"{column.name}: {column.error}" for column in self.record.columns if column.error]
            raise BadData(
                f"run {self.record.run_id} has no worst case ({'; '.join(failed)}), expected columns that do "
                "not fail"
            )
        return self.record.worst_case

    @property
    def images(self) -> BrokenImages:
        """The adversarial images that were kept, read from their file.

        Raises:
            BadData: none were kept.
        """
        record = self.record
        if record.evidence is None or self.how is None:
            raise BadData(
                f"the adversarial images of run {record.run_id} are not at hand, expected a run that keeps "
                "them, from the store where it keeps them",
                "bench.run(..., rerun=True)",
            )
        with images(self.how.store.run(record.run_id).path / record.evidence.file) as found:
            names = parse_json(found.metadata["columns"])
            places, labels = found.array("columns"), found.array("labels")
            return BrokenImages(found.of(found.ids), found.ids, labels, tuple(names[i] for i in places))

    def audit(self) -> Shown:
        """What `bench audit` says of it: a row for each rule that reviewers check, the worst verdict first.

        Raises:
            BenchError: the network's weights are not at hand.
        """
        from bench.audit.audit import audit
        from bench.report.audit import audit_table, tally

        if self.how is None:
            raise BadData(
                f"run {self.record.run_id} was read without its weights, expected it in a store of runs",
                "bench.run(...), which trains or finds them",
            )
        with tidy(self.how.progress):
            audited = audit(self.record, replace(self.how, stale="refuse"))
        if self.held:  # no command finds what is in memory
            audited = replace(audited, audit=tuple(replace(check, command=None) for check in audited.audit))
        return Shown((audit_table(audited),), (tally(audited.audit),))

    def frame(self) -> pd.DataFrame:
        """A row for each column, between clean accuracy and worst case; see bench.report.frame.COLUMNS."""
        return frame([self.record])

    def __str__(self) -> str:
        return str(self._shown)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._shown._repr_html_()

    @property
    def _shown(self) -> Shown:
        return Shown((run_table(self.record),))


Given = Result | Record
"""What may be compared and ranked."""


@dataclass(frozen=True, eq=False, repr=False)
class Results(Sequence[Result]):
    """Several results; those that were read are in the order of their ids."""

    results: tuple[Result, ...]

    def frame(self) -> pd.DataFrame:
        """One tidy frame: a row for each column of each record."""
        return frame(result.record for result in self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    @overload
    def __getitem__(self, place: int) -> Result: ...

    @overload
    def __getitem__(self, place: slice) -> Results: ...

    def __getitem__(self, place: int | slice) -> Result | Results:
        return Results(self.results[place]) if isinstance(place, slice) else self.results[place]

    def __str__(self) -> str:
        lines = [f"{one.record.run_id}  {one.record.defense}, {one.record.suite}" for one in self.results]
        return "\n".join([f"{len(self)} results", *lines])

    def __repr__(self) -> str:
        return str(self)


class SuiteResults(Results):
    """The results of one network under several suites, in the order in which these were asked for.

    A notebook shows them as one table, and `print` as the command does.
    """

    @property
    def worst_case(self) -> Interval:
        """The share of all n examples that hold against every column of every suite, example by example.

        Raises:
            BadData: there is none, because a column failed.
        """
        row = over_suites([result.record for result in self])
        if row.in_all is None:
            raise BadData(
                f"there is no worst case over all suites ({lacking(row)}), expected columns that do not fail"
            )
        return row.in_all

    @property
    def images(self) -> BrokenImages:
        """The adversarial images of all suites: of each example that fell, that of the first that broke it.

        Raises:
            BadData: a suite kept none.
        """
        found = [(result.record.suite, result.images) for result in self]
        ids, first = np.unique(np.concatenate([held.ids for _, held in found]), return_index=True)
        columns = [f"{suite} {column}" for suite, held in found for column in held.columns]
        return BrokenImages(
            np.concatenate([held.x for _, held in found])[first],
            ids,
            np.concatenate([held.labels for _, held in found])[first],
            tuple(columns[place] for place in first),
        )

    def audit(self) -> Shown:
        """What `bench audit` says of each.

        Raises:
            BenchError: the network's weights are not at hand.
        """
        audits = [result.audit() for result in self]
        tables = tuple(table for found in audits for table in found.tables)
        return Shown(tables, tuple(told for found in audits for told in found.sentences))

    def __str__(self) -> str:
        return str(self._shown)

    def _repr_html_(self) -> str:
        return self._shown._repr_html_()

    @property
    def _shown(self) -> Shown:
        return Shown((suites_table([result.record for result in self]),))
