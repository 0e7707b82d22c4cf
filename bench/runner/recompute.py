"""What a record must say, by its run and its cells alone, and where a stored one says otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch

from bench.core.names import as_published
from bench.core.outcomes import concatenate
from bench.core.traits import CLIMBS_VICTIM
from bench.evaluate import diagnostics
from bench.evaluate.batches import as_many_as_fit
from bench.records.record import Column, Interval, Record
from bench.records.store import RunFolder, StoredCell
from bench.runner.run import needless
from bench.runner.subject import Subject
from bench.runner.summary import ColumnCells, findings_of, summarise

ADDED = ("audit", "evidence", "files", "imported", "provenance", "schema")
"""What does not follow from cells: added later, proved elsewhere, or of the day of the run."""

HEADLINE = ("columns", "worst_case", "robust_examples", "findings")
"""What follows and has a proof of its own."""

OF_TRAITS = ("traits", "draws", "eot_samples")
"""What records have since they note what a defense is made of."""


def stored_cells(folder: RunFolder, subject: Subject) -> ColumnCells:
    """The columns of which every chunk is in the store, and why others were skipped, if they had to be."""
    found, trials = ColumnCells(), subject.spec.suite.trials
    for trial in trials:
        parts = [folder.cell(trial.column, number) for number in range(len(subject.rows))]
        whole: list[StoredCell] = [part for part in parts if part is not None]
        if whole and len(whole) == len(parts):
            found.outcomes[trial.column] = concatenate([part.outcomes for part in whole])
            found.seconds[trial.column] = sum(part.seconds for part in whole)
            found.shared[trial.column] = sum(part.shared for part in whole)
            if trial.knowledge.gradients in CLIMBS_VICTIM:
                found.flat_gradients[trial.column] = sum(part.flat_gradients for part in whole)
        elif subject.failed(trial) is not None:
            continue
        elif (reason := subject.closed(trial) or needless(trial, found, trials)) is not None:
            found.skipped[trial.column] = reason
    return found


def recomputed(record: Record, subject: Subject, cells: ColumnCells) -> Record:
    """The record that these cells make; what does not follow from them is taken from the stored one.

    Raises:
        BadValue: no column is whole.
    """
    found = findings_of(subject.spec, cells, subject.data.num_classes)
    made = record.provenance
    return summarise(subject, cells, found, made)


def columns_differ(record: Record, now: Record) -> Iterator[str]:
    """One sentence for each column that is not as its cells make it."""
    there, due = ({column.name: column for column in one.columns} for one in (record, now))
    if list(there) != list(due):
        yield f"the suite has the columns {', '.join(due)}, and the record {', '.join(there)}"
    for name in due:
        if name in there:
            yield from _column_differs(there[name], due[name], record.eot_samples is None)


def summary_differs(record: Record, now: Record) -> Iterator[str]:
    """One sentence for each field besides the columns and the worst case."""
    apart = {*ADDED, *HEADLINE, *(OF_TRAITS if record.eot_samples is None else ())}
    if record.custom and not record.differs:  # made before it was noted why
        apart.add("differs")
    if record.by_class is None:  # made before classes were counted
        apart.add("by_class")
    for item in dataclasses.fields(Record):
        if item.name in apart:
            continue
        told, is_now = getattr(record, item.name), getattr(now, item.name)
        if item.name == "training" and told is not None and is_now is not None:
            is_now = dataclasses.replace(is_now, sha256=told.sha256)  # the proof of the weights has it
        if as_published(told) != as_published(is_now):  # older specs have former names
            yield f"{item.name} is {_shown(is_now)} by run and cells, {_shown(told)} in the record"


def findings_lacking(record: Record, now: Record, subject: Subject) -> Iterator[str]:
    """The codes of what the cells give away, or blocks the network, and the record does not tell.

    What a network gives away on a few images may hang on the last digit, so less than a block is left out.
    """
    data = subject.data
    images, labels = data.test.batch(torch.cat(subject.rows)[:32])
    network = as_many_as_fit(
        lambda n: diagnostics.from_network(subject.deployed, images[:n], labels[:n], data.mean, data.std),
        len(images),
    )
    found = {finding.code for finding in now.findings}
    found |= {finding.code for finding in network if finding.severity == "block"}
    yield from sorted(found - {finding.code for finding in record.findings})


def _column_differs(told: Column, due: Column, before_traits: bool) -> Iterator[str]:
    if told.robust is not None and due.robust is None and due.skipped is None:
        yield f"{due.name} has no cells"
        return
    if told.robust is None and told.error is None and due.robust is None and due.skipped is None:
        yield f"{due.name} is said to be skipped, and nothing speaks against playing it"
        return
    apart = {"adaptive", "answers"} if before_traits else set()
    if told.after is not None:  # of an older record's sequel not all figures are known: what is not told
        apart |= {name for name in ("queries_mean", "queries_median") if getattr(told, name) is None}
    for item in dataclasses.fields(Column):
        held, is_now = getattr(told, item.name), getattr(due, item.name)
        if held != is_now and item.name not in apart:
            yield f"{due.name}.{item.name} is {_shown(is_now)} by its cells, {_shown(held)} in the record"


def _shown(value: object) -> str:
    if isinstance(value, Interval):
        return f"{value.count} of {value.n}"
    if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
        return "something else"
    return str(value)
