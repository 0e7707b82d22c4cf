"""A published record held to its word by the weights beside it, where nobody has the store of its run."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.bitmap import unpacked
from bench.core.digest import source_digests
from bench.core.outcomes import Outcomes
from bench.core.succession import changed_modules
from bench.errors import BadData
from bench.evaluate.follow_up import FollowUp, Scout
from bench.records.record import Column, Record
from bench.records.verdicts import worst_case_of
from bench.records.weights import as_store
from bench.runner.columns import Chain, Columns
from bench.runner.options import Options
from bench.runner.run import run
from bench.runner.spec_of_record import spec_of
from bench.runner.stale import listed, require_fresh
from bench.runner.subject import Subject, open_subject
from bench.runner.verify import Proof, circumstances, weights_proof

Held = NDArray[np.bool_]

APART = 0.005
"""The share of verdicts that may differ on another machine, whose rounding leads attacks elsewhere."""


def verify_from_weights(
    record: Record,
    options: Options,
    boards: Path,
    cells: int | None = 3,
    data: str | None = None,
    code: tuple[str, ...] = (),
) -> Iterator[Proof]:
    """What holds of a record by the weights in `boards`, thing by thing.

    `cells` random columns that begin with the clean images are attacked again, each on a random chunk; None:
    the whole run is. On the same kind of machine every verdict must be the record's; where versions, threads
    or device are others, half a point of them may differ, or one.

    Raises:
        StaleRecord: other code made it, and that was not accepted.
        BenchError: its weights, data or code are not at hand, or it does not say which images held.
    """
    claimed = worst_case_of(record)
    if claimed is None or record.robust_examples is None:
        raise BadData(
            f"run {record.run_id} does not say which images held, expected a record that does",
            "bench reproduce",
        )
    right = unpacked(record.robust_examples.clean, record.examples)
    with as_store(record, boards) as store:
        how = dataclasses.replace(options, store=store)
        spec = spec_of(record, store, data, code)
        changed = changed_modules(
            record.provenance.sources, source_digests(spec.modules), randomized=record.draws > 1
        )
        hint = "--accept-stale to see whether the results are the same all the same"
        require_fresh(f"run {record.run_id} was made", changed, how, hint)
        if changed:
            yield Proof("code", None, f"{listed(changed)} changed since")
        subject = open_subject(spec, how)
        yield weights_proof(record, subject)
        told = f"{subject.data.name}, {subject.data.digest}"
        yield Proof("data", subject.data.digest == record.data_digest, told)
        claim = _Claim(record, right, claimed, tuple(circumstances(record, subject)))
        if cells is None:
            yield from claim.of_all(run(spec, how))
        else:
            subject.lay_out()
            yield from _cells(claim, subject, cells, how)


@dataclasses.dataclass(frozen=True)
class _Claim:
    """What a record says of each of its examples, and why a machine may see it otherwise."""

    record: Record
    right: Held  # [n], when clean
    held: Held  # [n], against every column
    other: tuple[str, ...]

    def told(self, what: str, apart: int, n: int, sentence: str) -> Proof:
        """Whether so many of n verdicts may differ."""
        allowed = max(1, int(APART * n)) if self.other else 0
        why = [f"{apart} of {n} verdicts differ", *self.other] if apart else []
        return Proof(what, apart <= allowed, "; ".join([sentence, *why]))

    def of_cell(self, column: Column, chunk: int, at: slice, now: Outcomes) -> Proof:
        """One column on one chunk: what it breaks did not hold, and what was right is."""
        apart = (now.correct != self.right[at]) | (now.correct & ~now.robust & self.held[at])
        sentence = f"breaks {int((now.correct & ~now.robust).sum())} of {int(now.correct.sum())}"
        if len(now) == self.record.examples and column.robust is not None:
            sentence += f", the record's breaks {int(self.right.sum()) - column.robust.count}"
        return self.told(f"{column.name}, chunk {chunk}", int(apart.sum()), len(now), sentence)

    def of_all(self, now: Record) -> Iterator[Proof]:
        """Every column's count, and every example's verdict."""
        before = {column.name: column for column in self.record.columns}
        n = self.record.examples
        for column in now.columns:
            then = before.get(column.name)
            if then is None or then.robust is None or column.robust is None:
                same = then is not None and (then.robust is None) == (column.robust is None)
                yield Proof(column.name, same, "was not played" if same else "was played by one of the two")
                continue
            sentence = f"{column.robust.count} of {n} hold, {then.robust.count} in the record"
            yield self.told(column.name, abs(column.robust.count - then.robust.count), n, sentence)
        found = worst_case_of(now)
        if found is None:
            yield Proof("worst case", False, "a column fails now")
            return
        sentence = f"{int(found.sum())} of {n} hold, {int(self.held.sum())} in the record"
        yield self.told("worst case", int((found != self.held).sum()), n, sentence)


def _cells(claim: _Claim, subject: Subject, count: int, options: Options) -> Iterator[Proof]:
    """Some columns that go on from no other, each on one chunk."""
    trials = [
        trial
        for trial in subject.spec.suite.trials
        if not isinstance(trial, FollowUp | Scout) and subject.closed(trial) is None
    ]
    there = [(trial, number) for trial in trials for number in range(len(subject.rows))]
    chosen = sorted(random.sample(there, min(count, len(there))), key=there.index)
    columns = {column.name: column for column in claim.record.columns}
    ends = np.cumsum([0, *subject.sizes])
    options.progress.start("cells computed from the weights", len(chosen), "cells")
    player = Columns(subject)
    for trial, number in chosen:
        played = next(player.play(Chain(number, (trial,), None)))
        options.progress.advance()
        column = columns.get(trial.column)
        if played.cell.outcomes is None or column is None:
            why = "the record has no such column" if column is None else f"it fails now: {played.cell.error}"
            yield Proof(f"{trial.column}, chunk {number}", False, why)
            continue
        at = slice(int(ends[number]), int(ends[number + 1]))
        yield claim.of_cell(column, number, at, played.cell.outcomes)
    options.progress.finish()
