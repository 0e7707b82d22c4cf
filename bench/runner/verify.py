"""A stored run held to its word: checksums, what follows from its cells, cells computed once more."""

from __future__ import annotations

import dataclasses
import platform
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bench.core.digest import file_sha256, source_digests
from bench.core.lock import installed_version
from bench.core.outcomes import Outcomes
from bench.core.succession import changed_modules
from bench.errors import BadData, BenchError
from bench.evaluate.engine import part_of
from bench.evaluate.follow_up import left_for
from bench.records.evidence import FILE
from bench.records.record import Record
from bench.records.store import RunFolder
from bench.runner import agreement
from bench.runner.columns import Chain, Columns
from bench.runner.evidence import score
from bench.runner.options import Options
from bench.runner.recompute import columns_differ, findings_lacking, recomputed, stored_cells, summary_differs
from bench.runner.spec_of_record import spec_of
from bench.runner.stale import listed, require_fresh
from bench.runner.subject import Subject, open_subject
from bench.runner.summary import PACKAGES, ColumnCells


@dataclass(frozen=True)
class Proof:
    """One thing that a record claims, and whether it is so."""

    what: str
    holds: bool | None  # None: nothing is there to tell
    detail: str


def verify(
    record: Record,
    options: Options,
    cells: int | None = 3,
    data: str | None = None,
    code: tuple[str, ...] = (),
    tolerance: float | None = None,
) -> Iterator[Proof]:
    """What holds of a record, thing by thing; `cells` random ones are computed again, None: all.

    Equal is to the last bit, or within a tolerance (see `bench.runner.agreement`): 0 is to the last bit, and
    None is `agreement.TOLERANCE` where device, threads or versions are known to be others.
    Nothing is trained, and nothing in the store is changed.

    Raises:
        StaleRecord: other code made it, and that was not accepted.
        BenchError: the run, its weights, or its data are not at hand.
    """
    folder = options.store.run(record.run_id)
    if not any(folder.path.glob("cells/*/*.npz")):
        raise BadData(
            f"{str(options.store.root)!r} holds no cells of run {record.run_id}, expected the store in "
            "which it was computed",
            "--store FOLDER, or bench run with --rerun",
        )
    spec = spec_of(record, options.store, data, code)
    changed = changed_modules(
        record.provenance.sources, source_digests(spec.modules), randomized=record.draws > 1
    )
    hint = "--accept-stale to see whether the results are the same all the same"
    require_fresh(f"run {record.run_id} was made", changed, options, hint)
    if changed:
        yield Proof("code", None, f"{listed(changed)} changed since")
    subject = open_subject(spec, options)
    yield weights_proof(record, subject)
    yield Proof(
        "data", subject.data.digest == record.data_digest, f"{subject.data.name}, {subject.data.digest}"
    )
    subject.lay_out()  # as for the run, so that the same arithmetic judges
    kept = stored_cells(folder, subject)
    stored = kept.outcomes
    if tolerance is None:
        tolerance = agreement.TOLERANCE if [*circumstances(record, subject)] else 0.0
    if subject.deployed.randomized:
        tolerance = 0.0  # no one image decides
    yield from _told(record, subject, folder, kept)
    yield from _evidence(record, folder, subject, tolerance)
    yield from _again(record, subject, folder, stored, cells, options, tolerance)


def weights_proof(record: Record, subject: Subject) -> Proof:
    """Whether the weights that are attacked are those of the record."""
    if record.training is None:
        return Proof("weights", None, "nothing was trained")
    sha256 = file_sha256(subject.trained.weights)
    holds = sha256 == record.training.sha256
    told = f"sha256 {sha256[:12]} of {subject.trained.weights.name}"
    return Proof(
        "weights", holds, told if holds else f"{told}, the record's is {record.training.sha256[:12]}"
    )


def _told(record: Record, subject: Subject, folder: RunFolder, cells: ColumnCells) -> Iterator[Proof]:
    """Whether what the record says follows from its run and its cells: every field, not the counts alone."""
    if not cells.outcomes:
        yield Proof("columns", False, "no column has all its cells")
        return
    now = recomputed(record, subject, cells)
    wrong = list(columns_differ(record, now))
    yield Proof(
        "columns", not wrong, "; ".join(wrong) or f"{len(cells.outcomes)} columns follow from their cells"
    )
    holds = record.worst_case == now.worst_case
    if record.robust_examples is not None:
        holds &= record.robust_examples == now.robust_examples
    due, told = now.worst_case, record.worst_case
    ours = f"{due.count} of {due.n}" if due else "none"
    yield Proof("worst case", holds, f"{ours} by the cells, {told.count if told else 'none'} in the record")
    wrong = list(summary_differs(record, now))
    yield Proof("summary", not wrong, "; ".join(wrong) or "all else follows from the run and its cells")
    lacking = list(findings_lacking(record, now, subject))
    yield Proof("findings", not lacking, f"not told: {', '.join(lacking)}" if lacking else "none is left out")
    yield _table(folder, cells.outcomes)


def _table(folder: RunFolder, stored: Mapping[str, Outcomes]) -> Proof:
    """Whether the table of examples says what the cells say; it is rounded, so verdicts are compared."""
    try:
        table = folder.examples()
    except BenchError as error:
        return Proof("examples.csv", False, str(error))
    other = [name for name in stored if not np.array_equal(table[name].attacked, stored[name].attacked)]
    return Proof("examples.csv", not other, f"{', '.join(other)} differ" if other else "as the cells")


def _evidence(record: Record, folder: RunFolder, subject: Subject, tolerance: float) -> Iterator[Proof]:
    """Whether the stored images are the record's, and still come to the same, borderline ones left out."""
    kept = record.evidence
    if kept is None:
        yield Proof("evidence", None, "no adversarial images were kept")
        return
    path = folder.path / kept.file
    try:
        sha256 = file_sha256(path)
        scored = score(subject, path)
    except (OSError, BenchError) as error:
        yield Proof("evidence", False, str(error))
        return
    yield Proof(
        "evidence", sha256 == kept.sha256, f"sha256 {sha256[:12]} of {kept.file}, {kept.images} images"
    )
    again, rounded = int(scored.again.sum()), int(scored.rounded.sum())
    holds = (again, rounded, scored.left) == (kept.again.count, kept.rounded.count, kept.left)
    told = (
        f"{again} of {len(scored.again)} hold against the stored images, {rounded} after rounding to 8 bits"
    )
    if not holds:
        told += f"; the record has {kept.again.count}, {kept.rounded.count}"
    if not holds and tolerance:
        plain, eight = agreement.borderline_evidence(subject, path, tolerance)
        holds = abs(again - kept.again.count) <= len(plain) and abs(rounded - kept.rounded.count) <= len(
            eight
        )
        holds &= scored.left == kept.left
        listed = ", ".join(map(str, sorted({*plain, *eight}))) or "none"
        told += f"; borderline, within {tolerance:g} of the spread of the logits: {listed}"
    yield Proof("evidence again", holds, told)


def _again(
    record: Record,
    subject: Subject,
    folder: RunFolder,
    stored: Mapping[str, Outcomes],
    cells: int | None,
    options: Options,
    tolerance: float,
) -> Iterator[Proof]:
    """Some cells, computed once more and compared array by array; within a tolerance, verdict by verdict."""
    trials = {trial.column: trial for trial in subject.spec.suite.trials}
    there = [(column, number) for column in stored for number in range(len(subject.rows))]
    chosen = there if cells is None else sorted(random.sample(there, min(cells, len(there))), key=there.index)
    columns = Columns(subject)
    sizes = [len(rows) for rows in subject.rows]
    options.progress.start("cells computed again", sum(sizes[number] for _, number in chosen), "examples")
    for column, number in chosen:
        whole = left_for(trials[column], subject.spec.suite.trials, stored)
        before = None if whole is None else part_of(whole, sum(sizes[:number]), sizes[number])
        noted = agreement.Noted(trials[column].attack)
        trial = dataclasses.replace(trials[column], attack=noted)
        played = next(columns.play(Chain(number, (trial,), before)))
        options.progress.advance(sizes[number])
        kept = folder.cell(column, number)
        what = f"{column}, chunk {number}"
        if played.cell.outcomes is None or kept is None:
            yield Proof(what, False, f"it fails now: {played.cell.error}")
            continue
        told = _difference(kept.outcomes, played.cell.outcomes)
        if told is None:
            yield Proof(what, True, f"all arrays of {sizes[number]} examples are equal")
            continue
        why = [*circumstances(record, subject)]
        if not tolerance:
            hint = f"on another processor of this kind: --tolerance {agreement.TOLERANCE:g}"
            yield Proof(what, False, "; ".join([told, *(why or [hint])]))
            continue
        images = agreement.images_of(folder.path / FILE, column)
        found = agreement.agreement(subject, kept.outcomes, played, noted, before, images, tolerance)
        detail = f"equal within {tolerance:g} of the spread of the logits" if not found.apart else told
        yield Proof(what, not found.apart, "; ".join([detail, found.told(sizes[number]), *why]))
    options.progress.finish()


def _difference(then: Outcomes, now: Outcomes) -> str | None:
    """Where two cells differ first, and in how many verdicts; None where they are equal."""
    for name, held in then.arrays().items():
        found = now.arrays()[name]
        if np.array_equal(held, found):
            continue
        row = int(np.flatnonzero(held != found)[0])
        verdicts = int((then.robust != now.robust).sum())
        return (
            f"{name} of example {then.ids[row]} is {found[row]} now and was {held[row]}; {verdicts} of "
            f"{len(then)} verdicts differ"
        )
    return None


def circumstances(record: Record, subject: Subject) -> Iterator[str]:
    """What is not as it was when the record was made, and may be why."""
    made = record.provenance
    if made.threads != torch.get_num_threads():
        yield f"threads: {torch.get_num_threads()} now, {made.threads} then (OMP_NUM_THREADS)"
    for name in PACKAGES:
        then, now = made.packages.get(name, "absent"), installed_version(name) or "absent"
        if then != now:
            yield f"{name}: {now} now, {then} then"
    if not made.device.startswith(subject.device.type):
        yield f"device: {subject.device} now, {made.device} then"
    if made.python != platform.python_version():
        yield f"python: {platform.python_version()} now, {made.python} then"
