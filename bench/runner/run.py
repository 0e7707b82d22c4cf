"""One run: every cell from the store or computed, then the record."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from bench.api import Deployed, Trial
from bench.core.digest import source_digests
from bench.core.metrics import most_missed
from bench.core.outcomes import Outcomes, concatenate
from bench.core.seeds import seed_for
from bench.core.threat import Source
from bench.data.dataset import test_subset
from bench.evaluate import diagnostics
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk, part_of, play
from bench.evaluate.sequel import Sequel
from bench.plan import RunSpec
from bench.records.record import Record
from bench.records.store import RunFolder, StoredCell
from bench.runner.options import Options, pick_device
from bench.runner.stale import sources_behind, stored_record
from bench.runner.summary import Cells, provenance, summarise
from bench.runner.weights import attackers_network, build_trained, fit, load_data


def run(spec: RunSpec, options: Options) -> Record:
    """The record of a run: from the store where it is complete, else computed from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, or a stored record's code has changed.
    """
    options.store.prepare()
    folder = options.store.run(spec.id)
    sources = source_digests(spec.modules)
    found = stored_record(folder, sources, options)
    if found is not None:
        options.progress.say(f"run {spec.id} is complete: this is its record, nothing was computed")
        return found
    return _Run(spec, options, folder, sources).record()


class _Run:
    """The state of one run while it is computed."""

    def __init__(
        self, spec: RunSpec, options: Options, folder: RunFolder, sources: Mapping[str, str]
    ) -> None:
        self.spec, self.options, self.folder, self.sources = spec, options, folder, sources
        self.started = datetime.datetime.now(datetime.timezone.utc)
        self.clock = time.perf_counter()
        self.data = load_data(spec.training, options)
        self.device = pick_device(options.device)

    def record(self) -> Record:
        """Train or load, deploy, attack; what is complete is stored, what failed is told."""
        spec, data, options = self.spec, self.data, self.options
        trained = fit(spec.training, options, data)
        net = build_trained(spec.training, trained, data, spec.checkpoint)
        deployed = spec.training.named.defense.deploy(net.to(self.device))
        others = {who: attackers_network(who, other, trained, options, data) for who, other in spec.others}
        batches = Batches(options.batch_size or AUTO.get(self.device.type, 128))
        arena = Arena(
            deployed, spec.budget, data.num_classes, others, spec.numerics, batches, options.compiled
        )
        rows = test_subset(data, spec.suite.examples)
        findings = diagnostics.from_network(deployed, data.test.batch(rows[:32])[0])
        self._begin()
        cells = self._cells(arena, rows)
        findings += diagnostics.from_outcomes(cells.outcomes, cells.flat_gradients)
        gates = {trial.gate for trial in spec.suite.trials if isinstance(trial, Sequel) and trial.gate}
        findings += diagnostics.from_gates(sorted(gates), cells.outcomes)
        sources = sources_behind(spec, options.store, self.sources)
        made = provenance(sources, self.device, self.started, time.perf_counter() - self.clock)
        record = summarise(spec, data, trained, net, cells, findings, made)
        if record.status == "complete":
            self.folder.finish(record, cells.outcomes)
        return record

    def _begin(self) -> None:
        thrown = self.folder.begin(self.spec.encoded(), self.sources)
        if thrown:
            self.options.progress.say(
                f"{thrown} cells of run {self.spec.id} were computed by other code: computing them again"
            )

    def _cells(self, arena: Arena, rows: Tensor) -> Cells:
        """Every cell, stored or computed."""
        spec, progress, cells = self.spec, self.options.progress, Cells()
        title = f"{spec.training.named.label} {spec.suite.id}"
        progress.start(title, len(spec.suite.trials) * len(rows), "examples")
        before: Outcomes | None = None  # the column before, for sequels
        for trial in spec.suite.trials:
            column = trial.column
            reason = _skipped(trial, arena.deployed, spec) or _needless(trial, cells)
            if reason:
                cells.skipped[column] = reason
                progress.advance(len(rows))
                continue
            if isinstance(trial, Sequel) and cells.failed:
                cells.failed[column] = f"it goes on from {next(iter(cells.failed))}, which failed"
                progress.advance(len(rows))
                continue
            parts = self._chunks(arena, trial, rows, cells, before if isinstance(trial, Sequel) else None)
            if parts is None:
                continue
            before = cells.outcomes[column] = concatenate([part.outcomes for part in parts])
            cells.seconds[column] = sum(part.seconds for part in parts)
            if trial.knowledge.gradients is Source.DEPLOYED:
                cells.flat_gradients[column] = sum(part.flat_gradients for part in parts)
        progress.finish()
        return cells

    def _chunks(
        self, arena: Arena, trial: Trial, rows: Tensor, cells: Cells, before: Outcomes | None
    ) -> list[StoredCell] | None:
        """The cells of one column; None where one failed, which is noted."""
        parts: list[StoredCell] = []
        size = self.spec.suite.chunk
        for number, ids in enumerate(torch.split(rows, size)):
            cell = self.folder.cell(trial.column, number)
            if cell is None:
                x, y = self.data.test.batch(ids)
                chunk = Chunk(number, x, y, self.data.test.ids[ids])
                left = None if before is None else part_of(before, number * size, len(ids))
                seed = seed_for(self.spec.id, trial.column, number)
                played = play(arena, trial, chunk, seed, left)
                if played.outcomes is None:
                    cells.failed[trial.column] = str(played.error)
                    self.folder.keep_error(trial.column, number, str(played.error))
                    return None
                cell = StoredCell(played.outcomes, played.seconds, played.flat_gradients)
                self.folder.keep_cell(trial.column, number, cell)
            parts.append(cell)
            self.options.progress.advance(len(ids))
        return parts


def _needless(trial: Trial, cells: Cells) -> str | None:
    """Why a gate stays shut, and what that is worth."""
    if not isinstance(trial, Sequel) or trial.gate not in cells.outcomes:
        return None
    probed, broke = diagnostics.broken_by(trial.gate, cells.outcomes)
    if not probed:
        return f"nothing was left for {trial.gate}"
    if broke or probed < trial.least:
        return None
    queries = int(cells.outcomes[trial.gate].forwards.max())
    missed = most_missed(probed)
    return (
        f"{trial.gate} broke none of {probed} examples with {queries:,} queries each: with 95 % confidence "
        f"it would break at most {100 * missed:.1f} % of such"
    )


def _skipped(trial: Trial, deployed: Deployed, spec: RunSpec) -> str | None:
    if trial.knowledge.gradients is Source.TWIN and Source.TWIN not in dict(spec.others):
        return "nobody trained a twin of this network"
    if trial.knowledge.gradients is Source.CLASSIFIER and deployed.classifier is None:
        return "the defense is its classifier: nothing around it is hidden"
    if getattr(trial.attack, "loss", None) == "adaptive" and deployed.adaptive_loss is None:
        return "the defense states no adaptive loss"
    return None
