"""One run: every cell from the store or computed, then the record."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from bench.api import Trial
from bench.core.digest import source_digests
from bench.core.doubt import most
from bench.core.outcomes import concatenate
from bench.core.traits import CLIMBS_VICTIM
from bench.evaluate import diagnostics
from bench.evaluate.batches import as_many_as_fit
from bench.evaluate.engine import Cell, part_of
from bench.evaluate.follow_up import FollowUp, Scout, in_doubt, left_for
from bench.plan import RunSpec
from bench.records.evidence import drop_cell_images, has_loose_images, keep_images, unusable
from bench.records.files import sweep
from bench.records.record import Record
from bench.records.store import RunFolder, StoredCell, complete
from bench.runner.columns import Chain, Columns, Played, RunWork
from bench.runner.evidence import keep
from bench.runner.executors import Executor, executor
from bench.runner.options import Options
from bench.runner.origins import note_files
from bench.runner.stale import figures_digest, has_old_figures, sources_behind, stored_record
from bench.runner.subject import Subject, open_subject
from bench.runner.summary import ColumnCells, findings_of, provenance, summarise
from bench.runner.trackers.hook import work_of
from bench.runner.trackers.runs import tell_cell, tell_column, tell_record
from bench.runner.weights import sweep_behind, weights_behind


def run(spec: RunSpec, options: Options) -> Record:
    """The record of a run: from the store where it is complete, else computed from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, or a stored record's code has changed.
    """
    options.tracking.begin(work_of("run", spec.id, spec.encoded()))
    record = _stored_or_computed(spec, options)
    tell_record(options.tracking, record)
    return record


def _stored_or_computed(spec: RunSpec, options: Options) -> Record:
    folder = options.store.run(spec.id, options.progress.say)
    sources = source_digests(spec.modules)
    record = _answer(spec, options, folder, sources)
    if record is None:
        options.store.prepare()
        with options.store.lock("run", spec.id, options.progress.say) as since:
            sweep(folder.path, since)
            record = _from_store_or_computed(spec, options, folder, sources)
    sweep_behind([spec], options)
    note_files(spec, options.store)
    return record


def _answer(spec: RunSpec, options: Options, folder: RunFolder, sources: Mapping[str, str]) -> Record | None:
    """The record of a complete run of which nothing is left to do; a store that is only read has done all."""
    if options.stale == "rerun":
        return None
    found = stored_record(folder, sources, options)
    if found is None:
        return None
    unfinished = has_old_figures(found, folder, sources) or has_loose_images(found, folder)
    if unfinished and options.store.is_writable():
        return None
    options.progress.say(complete(spec.id))
    return found


def _from_store_or_computed(
    spec: RunSpec, options: Options, folder: RunFolder, sources: Mapping[str, str]
) -> Record:
    """The record of a run whose lock is held: another process may have made it meanwhile."""
    found = stored_record(folder, sources, options)
    if found is not None and has_old_figures(found, folder, sources):
        options.progress.say(f"run {spec.id}: its figures are made anew from its cells by the code of now")
        return _Run(spec, options, folder, sources).record(found)
    if found is None:
        return _Run(spec, options, folder, sources).record()
    if has_loose_images(found, folder):  # it was killed after its record, before its end
        drop_cell_images(folder)
    options.progress.say(complete(spec.id))
    return found


class _Run:
    """The state of one run while it is computed."""

    def __init__(
        self, spec: RunSpec, options: Options, folder: RunFolder, sources: Mapping[str, str]
    ) -> None:
        self.spec, self.options, self.folder, self.sources = spec, options, folder, sources
        self.started = datetime.datetime.now(datetime.UTC)
        self.clock = time.perf_counter()
        self.work = work_of("run", spec.id, spec.encoded())

    def record(self, before: Record | None = None) -> Record:
        """Train or load, deploy, attack; what is complete is stored, what failed is told.

        `before`: the record whose cells are all in the store; what does not follow from them is kept.
        """
        spec, options = self.spec, self.options
        subject = open_subject(spec, options)
        data = subject.data
        images, labels = data.test.batch(torch.cat(subject.rows)[:32])
        findings = as_many_as_fit(
            lambda n: diagnostics.from_network(subject.deployed, images[:n], labels[:n], data.mean, data.std),
            len(images),
        )
        self._begin()
        subject.lay_out()
        for note in subject.notes():
            options.progress.say(note)
        work = RunWork(spec, weights_behind([spec], options.store))
        with executor(lambda: Columns(subject), work, options, rest_of_chain, lost_chain) as ready:
            cells = self._cells(subject, ready)
        if not any(finding.code == "undeclared-randomness" for finding in findings):
            findings += as_many_as_fit(
                lambda n: diagnostics.from_history(subject.deployed, subject.anew(), images[:n]), len(images)
            )
        findings += findings_of(spec, cells, data.num_classes)
        evidence = None
        if options.evidence and cells.outcomes and not cells.failed:
            evidence, told = keep(subject, self.folder, cells.outcomes, options.progress)
            findings += told
        sources = sources_behind(spec, options.store, self.sources)
        notes = (*subject.trained.said, *subject.notes())
        figures = figures_digest(self.sources)
        seconds = time.perf_counter() - self.clock
        made = provenance(sources, subject.device, self.started, seconds, notes, figures)
        record = summarise(subject, cells, findings, made)
        record = dataclasses.replace(record, evidence=evidence)
        if before is not None:
            made = dataclasses.replace(before.provenance, figures=figures)
            kept = before.audit, before.imported, evidence or before.evidence
            record = dataclasses.replace(
                record, provenance=made, audit=kept[0], imported=kept[1], evidence=kept[2]
            )
        if record.status == "complete":
            record = self.folder.finish(record, cells.outcomes)
            if record.evidence is not None:
                drop_cell_images(self.folder)  # last: until the record is there, they are what it is made of
        return record

    def _begin(self) -> None:
        thrown = self.folder.begin(self.spec.encoded(), self.sources)
        if thrown:
            self.options.progress.say(
                f"{thrown} cells of run {self.spec.id} were computed by other code: computing them again"
            )

    def _cells(self, subject: Subject, executor: Executor[Chain, Played]) -> ColumnCells:
        """Every column, from stored or computed cells, as if they were computed one after the other."""
        spec, progress, cells = self.spec, self.options.progress, ColumnCells()
        title = f"{spec.training.named.label} {spec.suite.id}"
        progress.start(title, len(spec.suite.trials) * subject.examples, "examples")
        for act in _acts(spec.suite.trials):
            admitted = [trial for trial in act if self._admitted(trial, subject, cells)]
            progress.advance((len(act) - len(admitted)) * subject.examples)
            found = self._played(admitted, subject, executor, cells)
            for trial in admitted:
                if self._admitted(trial, subject, cells):
                    _settle(trial, [found.get((trial.column, k)) for k in range(len(subject.rows))], cells)
                    self._tell_column(trial.column, cells)
        progress.finish()
        return cells

    def _admitted(self, trial: Trial, subject: Subject, cells: ColumnCells) -> bool:
        """Whether a column is played, as far as is known; if not, it is noted why."""
        if (failure := subject.failed(trial)) is not None:
            cells.failed[trial.column] = failure
        elif reason := subject.closed(trial) or needless(trial, cells, self.spec.suite.trials):
            cells.skipped[trial.column] = reason
        elif isinstance(trial, FollowUp | Scout) and cells.failed:
            cells.failed[trial.column] = f"it goes on from {next(iter(cells.failed))}, which failed"
        else:
            return True
        return False

    def _played(
        self, trials: Sequence[Trial], subject: Subject, executor: Executor[Chain, Played], cells: ColumnCells
    ) -> _Found:
        """The cells of some columns by column and chunk, those that are computed now stored at once."""
        found: _Found = {}
        failed: set[str] = set()
        sizes = [len(rows) for rows in subject.rows]

        def missing() -> Iterator[Chain]:
            for group, number in itertools.product(_groups(trials), range(len(sizes))):
                hopeful = tuple(itertools.takewhile(lambda trial: trial.column not in failed, group))
                before = left_for(group[0], self.spec.suite.trials, cells.outcomes)
                left = None if before is None else part_of(before, sum(sizes[:number]), sizes[number])
                chain = self._after_stored(Chain(number, hopeful, left), sizes[number], found)
                if chain.trials:
                    yield chain

        for played in executor.play(missing()):
            column, number, cell = played.column, played.number, played.cell
            if cell.outcomes is None:
                failed.add(column)
                found[column, number] = str(cell.error)
                self.folder.keep_error(column, number, str(cell.error))
            else:
                kept = StoredCell(cell.outcomes, cell.seconds, cell.flat_gradients, cell.shared)
                found[column, number] = kept
                if self.options.evidence and cell.broken is not None:
                    keep_images(self.folder, column, number, cell.broken.ids, cell.broken.images)
                self.folder.keep_cell(column, number, kept)
                self.options.progress.advance(sizes[number])
                tell_cell(self.options.tracking, self.work, column, number, cell.outcomes)
        return found

    def _tell_column(self, column: str, cells: ColumnCells) -> None:
        if (outcomes := cells.outcomes.get(column)) is not None:
            tell_column(self.options.tracking, self.work, column, outcomes)

    def _after_stored(self, chain: Chain, size: int, found: _Found) -> Chain:
        """What is left of a chain after the cells that are in the store."""
        before = chain.before
        for place, trial in enumerate(chain.trials):
            cell = self._stored(trial.column, chain.number)
            if cell is None:
                return Chain(chain.number, chain.trials[place:], before)
            found[trial.column, chain.number] = cell
            before = cell.outcomes
            self.options.progress.advance(size)
        return Chain(chain.number, ())

    def _stored(self, column: str, number: int) -> StoredCell | None:
        """A cell of the store, unless what it broke lies beside it in a state that cannot be kept."""
        cell = self.folder.cell(column, number)
        why = unusable(self.folder, column, number) if cell and self.options.evidence else None
        if why:
            self.options.progress.say(f"the images of {column} on chunk {number}: {why}; computed again")
        return None if why else cell


def rest_of_chain(chain: Chain, played: Played) -> Chain | None:
    """What is left of a chain after its first cell; one that failed ends it."""
    if played.cell.outcomes is None or len(chain.trials) == 1:
        return None
    return Chain(chain.number, chain.trials[1:], played.cell.outcomes)


def lost_chain(chain: Chain, why: str) -> Played:
    """The cell of a chain that cost too many workers: it failed, and the column tells why."""
    return Played(chain.trials[0].column, chain.number, Cell(None, 0.0, error=why))


_Found = dict[tuple[str, int], StoredCell | str]
"""(column, chunk) -> its cell, or how it failed."""


def _acts(trials: Iterable[Trial]) -> list[list[Trial]]:
    """The columns from gate to gate and sweep by sweep: those look at whole columns, nothing else waits."""
    acts: list[list[Trial]] = [[]]
    sweep = 0
    for trial in trials:
        opens = isinstance(trial, Scout) and trial.sweep != sweep
        if opens or (isinstance(trial, FollowUp) and trial.gate):
            acts.append([])
        sweep = trial.sweep if isinstance(trial, Scout) else 0
        acts[-1].append(trial)
    return acts


def _groups(trials: Iterable[Trial]) -> list[tuple[Trial, ...]]:
    """Each trial with the sequels that go on from it."""
    groups: list[tuple[Trial, ...]] = []
    for trial in trials:
        if isinstance(trial, FollowUp) and groups:
            groups[-1] += (trial,)
        else:
            groups.append((trial,))
    return groups


def _settle(trial: Trial, parts: Sequence[StoredCell | str | None], cells: ColumnCells) -> None:
    """A column from its chunks; the first that failed is why it failed, and later ones may be lacking."""
    whole = []
    for part in parts:
        if not isinstance(part, StoredCell):
            cells.failed[trial.column] = str(part)
            return
        whole.append(part)
    cells.outcomes[trial.column] = concatenate([part.outcomes for part in whole])
    cells.seconds[trial.column] = sum(part.seconds for part in whole)
    cells.shared[trial.column] = sum(part.shared for part in whole)
    if trial.knowledge.gradients in CLIMBS_VICTIM:
        cells.flat_gradients[trial.column] = sum(part.flat_gradients for part in whole)


def needless(trial: Trial, cells: ColumnCells, trials: Sequence[Trial]) -> str | None:
    """Why a column need not be played, and what that is worth: a gate is shut, or a sweep left no doubt."""
    if isinstance(trial, Scout):
        return _settled(trial, cells, trials)
    if not isinstance(trial, FollowUp) or trial.gate not in cells.outcomes:
        return None
    probed, broke = diagnostics.broken_by(trial.gate, cells.outcomes)
    if not probed:
        return f"nothing was left for {trial.gate}"
    if broke or probed < trial.least:
        return None
    queries = int(cells.outcomes[trial.gate].forwards.max())
    missed = most(0, probed)
    return (
        f"{trial.gate} broke none of {probed} examples with {queries:,} queries each: with 95 % confidence "
        f"it would break at most {100 * missed:.1f} % of such"
    )


def _settled(trial: Scout, cells: ColumnCells, trials: Sequence[Trial]) -> str | None:
    """Why a sweep is not needed: nothing stands, or the one before it leaves little in doubt."""
    before = left_for(trial, trials, cells.outcomes)
    if before is not None and not before.robust.any():
        return "nothing was left for it"
    doubt = in_doubt(trials, cells.outcomes, trial.sweep - 1)
    if doubt is None or before is None or not doubt.settled(len(before)):
        return None
    return (
        f"of {doubt.met} examples, {doubt.alone} fell to only one of the {doubt.attackers} attackers before: "
        f"the same again would break at most {doubt.at_most:.1f}, with 95 % confidence"
    )
