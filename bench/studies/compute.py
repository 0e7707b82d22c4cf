"""The one road of every study: stored? stale? resume, cells through an executor, provenance, write."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from bench.core.threat import format_eps
from bench.nn.tf32 import tf32
from bench.records import documents
from bench.records.files import sweep, write_atomically
from bench.records.heading import Heading
from bench.records.store import RunFolder
from bench.runner.executors import executor
from bench.runner.options import Options
from bench.runner.origins import note_files
from bench.runner.stale import require_fresh, sources_behind, study_changes, study_sources
from bench.runner.summary import provenance
from bench.runner.weights import sweep_behind, weights_behind
from bench.studies.cells import Cells
from bench.studies.measuring import Figures, Measuring, network_of
from bench.studies.spec import StudySpec
from bench.studies.study import Study
from bench.studies.table import study as row


def compute(spec: StudySpec, options: Options) -> Any:
    """The result of a spec: from the store where it is complete, else computed from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, an attack fails, or the code of what is
            stored has changed.
    """
    study = row(spec.name)
    found = None if options.stale == "rerun" else _answer(study, spec, options)
    if found is None:
        options.store.prepare()
        with _alone(study, spec, options) as since:
            found = None if options.stale == "rerun" else _answer(study, spec, options)
            found = _computed(study, spec, options, since) if found is None else found
    sweep_behind(spec.runs, options)
    for run in spec.runs:
        note_files(run, options.store)
    return found


@contextmanager
def _alone(study: Study, spec: StudySpec, options: Options) -> Iterator[float]:
    """Hold the locks of the result and of its parts; gives the time when the last was taken."""
    names = sorted({spec.id, *(part.id for part in spec.parts)})  # in one order, so nobody waits in a circle
    with ExitStack() as locks:
        for name in names:
            lock = options.store.lock(study.result, name, options.progress.say)
            since = locks.enter_context(lock)
        yield since


def _answer(study: Study, spec: StudySpec, options: Options) -> Any:
    """A complete result, and that it is; None: there is none."""
    found = _stored(study, spec, options)
    if found is not None:
        options.progress.say(
            f"{study.result} {spec.id} of {', '.join(found.labels)} is complete: nothing was computed"
        )
    return found


@tf32(False)
def _computed(study: Study, spec: StudySpec, options: Options, since: float) -> Any:
    """The result, computed from where it stopped, by the process that holds its locks since then."""
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    measuring: Measuring[Any] = study.module("measure").Measure(spec, options)
    work = StudyWork(spec, weights_behind(spec.runs, options.store))
    options.progress.start(spec.title, measuring.columns * measuring.subject.examples, "examples")
    with executor(lambda: measuring, work, options) as ready:
        cells = Cells(_begun(study, spec, options, since), measuring.sizes, ready, options)
        figures = measuring.figures(cells)
    options.progress.finish()
    sources = study_sources(spec.modules)
    for run in spec.runs:
        sources = sources_behind(run, options.store, sources)
    made = provenance(sources, measuring.subject.device, started, time.perf_counter() - clock)
    found: Any = study.module("record").RECORD(
        **_heading(study, measuring, figures, cells, made), **figures.fields
    )
    path = study.where(options.store.root, spec.id)
    for name, content in figures.files.items():
        write_atomically(path.parent / name, content)
    documents.write(path, found)  # it exists = it is complete
    return found


@dataclass(frozen=True)
class StudyWork:
    """A study of a spec, as it can be sent to another process."""

    spec: StudySpec
    weights: Mapping[str, str]  # training -> SHA-256 of what this process measures

    def open(self, options: Options) -> Measuring[Any]:
        """Open its subjects."""
        options = replace(options, weights=self.weights)
        return cast("Measuring[Any]", row(self.spec.name).module("measure").Measure(self.spec, options))


def _stored(study: Study, spec: StudySpec, options: Options) -> Any:
    """A complete result.

    Raises:
        StaleRecord: other code made it.
    """
    found = study.read(study.where(options.store.root, spec.id))
    if found is None or options.stale == "accept":
        return found
    changed = study_changes(found.provenance.sources, study_sources(spec.modules))
    require_fresh(f"{study.result} {found.id} was made", changed, options)
    return found


def _begun(study: Study, spec: StudySpec, options: Options, since: float) -> dict[str, RunFolder]:
    """The folder of each part, rid of what other code computed."""
    folders = {}
    for part in spec.parts:
        folder = RunFolder(options.store.root / study.folder / part.id, options.progress.say)
        sweep(folder.path, since)
        if options.stale == "rerun":
            folder.forget()
            study.where(options.store.root, spec.id).unlink(missing_ok=True)
        thrown = folder.begin(part.encoded, study_sources((*part.modules, spec.measured_by)))
        if thrown:
            options.progress.say(f"{thrown} cells were computed by other code: computing them again")
        folders[part.id] = folder
    return folders


def _heading(
    study: Study, measuring: Measuring[Any], figures: Figures, cells: Cells, made: Any
) -> dict[str, Any]:
    """The fields of a `Heading`."""
    spec, data = measuring.spec, measuring.subject.data
    run = spec.runs[0]
    named = zip(measuring.subjects, figures.clean, strict=True)
    held = {
        "schema": study.module("record").SCHEMA,
        "id": spec.id,
        "networks": tuple(network_of(subject, clean) for subject, clean in named),
        "data": data.name,
        "data_digest": data.digest,
        "norm": run.budget.norm.value,
        "eps": format_eps(run.budget.eps),
        "seed": run.training.seed,
        "examples": measuring.subject.examples,
        "seconds": round(cells.seconds(), 3),
        "spec": spec.encoded(),
        "provenance": made,
    }
    assert held.keys() == Heading.__dataclass_fields__.keys()
    return held
