"""The one road of every study: stored? stale? resume, cells through an executor, provenance, write."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from typing import Any, cast

from bench.core.threat import format_eps
from bench.records import documents
from bench.records.heading import Heading
from bench.records.store import RunFolder, write_atomically
from bench.runner.executors import executor
from bench.runner.options import Options
from bench.runner.origins import note_files
from bench.runner.stale import require_fresh, sources_behind, study_changes, study_sources
from bench.runner.summary import provenance
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
    options.store.prepare()
    study = row(spec.name)
    found = _stored(study, spec, options)
    if found is not None:
        options.progress.say(
            f"{study.result} {spec.id} of {', '.join(found.labels)} is complete: nothing was computed"
        )
        return found
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    measuring: Measuring[Any] = study.module("measure").Measure(spec, options)
    work = StudyWork(spec)
    options.progress.start(spec.title, measuring.columns * measuring.subject.examples, "examples")
    with executor(lambda: measuring, work, options) as ready:
        cells = Cells(_begun(study, spec, options), measuring.sizes, ready, options)
        figures = measuring.figures(cells)
    options.progress.finish()
    sources = study_sources(spec.modules)
    for run in spec.runs:
        sources = sources_behind(run, options.store, sources)
    made = provenance(sources, measuring.subject.device, started, time.perf_counter() - clock)
    found = study.module("record").RECORD(
        **_heading(study, measuring, figures, cells, made), **figures.fields
    )
    for run in spec.runs:
        note_files(run, options.store)
    path = study.where(options.store.root, spec.id)
    for name, content in figures.files.items():
        write_atomically(path.parent / name, content)
    documents.write(path, found)  # it exists = it is complete
    return found


@dataclass(frozen=True)
class StudyWork:
    """A study of a spec, as it can be sent to another process."""

    spec: StudySpec

    def open(self, options: Options) -> Measuring[Any]:
        """Open its subjects."""
        return cast("Measuring[Any]", row(self.spec.name).module("measure").Measure(self.spec, options))


def _stored(study: Study, spec: StudySpec, options: Options) -> Any:
    """A complete result, unless it is to be computed again."""
    if options.stale == "rerun":
        return None
    found = study.read(study.where(options.store.root, spec.id))
    if found is None or options.stale == "accept":
        return found
    changed = study_changes(found.provenance.sources, study_sources(spec.modules))
    require_fresh(f"{study.result} {found.id} was made", changed, options)
    return found


def _begun(study: Study, spec: StudySpec, options: Options) -> dict[str, RunFolder]:
    """The folder of each part, rid of what other code computed."""
    folders = {}
    for part in spec.parts:
        folder = RunFolder(options.store.root / study.folder / part.id)
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
