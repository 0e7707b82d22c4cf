"""What a run's own examples make of its record: every count that follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from bench.core.credit import broken, met
from bench.core.digest import file_sha256
from bench.core.metrics import queries_to_success, withheld
from bench.core.outcomes import Outcomes, concatenate, worst_case
from bench.errors import BenchError
from bench.records.record import Column, Record
from bench.records.store import RunFolder
from bench.records.verdicts import verdicts_of

ROUNDED = 5.01e-4
"""Means are rounded to three digits; a half may be off by the last bit of a float besides."""


def differing(record: Record, folder: RunFolder) -> Iterator[str]:
    """One sentence for each figure of a record that its run's folder, where it is at hand, does not make.

    The table of examples and the cells are counted, and the file of images is held to its digest, each where
    it is there. Nothing is computed again: `bench verify` does that.
    """
    kept = record.evidence
    if kept is not None and (path := folder.path / kept.file).is_file() and file_sha256(path) != kept.sha256:
        yield f"{kept.file} is not the file that the record names"
    for name, outcomes in _kept(record, folder):
        if isinstance(outcomes, str):
            yield outcomes
            continue
        for wrong in _apart(record, outcomes):
            yield f"{wrong} by its {name}"


def _kept(record: Record, folder: RunFolder) -> Iterator[tuple[str, Mapping[str, Outcomes] | str]]:
    """What each example came to, from everything in the folder that says it."""
    if (folder.path / "examples.csv").is_file():
        try:
            yield "examples.csv", folder.examples()
        except BenchError as error:
            yield "examples.csv", error.message
    cells = _cells(record, folder)
    if cells:
        yield "cells", cells


def _cells(record: Record, folder: RunFolder) -> dict[str, Outcomes]:
    """The columns whose cells are all there; a damaged cell counts as not there."""
    chunks = -(-record.examples // int(record.spec["suite"]["chunk"]))
    found = {}
    for column in record.columns:
        parts = [folder.cell(column.name, number) for number in range(chunks)]
        if column.robust is not None and all(parts):
            found[column.name] = concatenate([part.outcomes for part in parts if part is not None])
    return found


def _apart(record: Record, outcomes: Mapping[str, Outcomes]) -> Iterator[str]:
    columns = {column.name: column for column in record.columns if column.robust is not None}
    for name, held in outcomes.items():
        if len(held) != record.examples or name not in columns:
            yield f"{name} has {len(held)} examples, and the run {record.examples},"
            return
        if (right := int(held.correct.sum())) != record.clean.count:
            yield f"{right} are right when clean and not {record.clean.count}"
        for figure, due, told in _figures(columns[name], held):
            if told is not None and abs(told - due) > ROUNDED:
                yield f"{name} has {figure} {due:g} and not {told:g}"
    if any(not np.array_equal(held.ids, next(iter(outcomes.values())).ids) for held in outcomes.values()):
        yield "its columns are of different examples"
    elif set(outcomes) == set(columns) and record.worst_case is not None:
        yield from _worst(record, outcomes)


def _figures(column: Column, held: Outcomes) -> Iterator[tuple[str, float, float | None]]:
    """Name, what the examples make, and what the record tells."""
    yield "robust", int(held.robust.sum()), None if column.robust is None else column.robust.count
    yield "met", int(met(held).sum()), column.met
    yield "broke", int(broken(held).sum()), column.broke
    yield "moved", int(held.moved.sum()), column.moved
    yield "lost", int(withheld(held).sum()), column.lost
    yield "invalid", int(held.invalid.sum()), column.invalid
    yield "forwards", float(held.forwards.mean()), column.forwards
    yield "backwards", float(held.backwards.mean()), column.backwards
    if (spent := queries_to_success(held)) is not None:
        yield "queries_mean", spent[0], column.queries_mean
        yield "queries_median", spent[1], column.queries_median


def _worst(record: Record, outcomes: Mapping[str, Outcomes]) -> Iterator[str]:
    left = worst_case(list(outcomes.values()))
    assert record.worst_case is not None
    if int(left.sum()) != record.worst_case.count:
        yield f"the worst case leaves {int(left.sum())} and not {record.worst_case.count}"
    elif record.robust_examples not in (None, verdicts_of(next(iter(outcomes.values())), left)):
        yield "other examples are marked as robust"
