"""One look inside a deployed defense: load or fit, attack, portray, store."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.attacks.streams import seeded
from bench.core.digest import content_id
from bench.core.encoding import describe
from bench.core.seeds import seed_for
from bench.core.threat import format_eps
from bench.data.catalog import source
from bench.errors import BadValue, StaleRecord
from bench.evaluate.portrait import Lacking, Method
from bench.plan import Request, RunSpec, plan_training
from bench.records import diagnostics as records
from bench.records.diagnostics import Diagnostics
from bench.runner.options import Options
from bench.runner.portraits import ATTACK, ATTACKS, PORTRAITS, SHOWN, Subject, answers, subject_of
from bench.runner.stale import listed, sources_behind, study_changes, study_sources
from bench.runner.summary import provenance, training_of

_OWN = ("bench.runner.diagnose",)


@dataclass(frozen=True)
class DiagnoseSpec:
    """All that decides one look."""

    run: RunSpec
    embedding: Method = "pca"
    stage: int = -1  # whose feature map gives the attention; -1: the last

    def encoded(self) -> dict[str, Any]:
        """As JSON."""
        return {"run": self.run.encoded(), "embedding": self.embedding, "stage": self.stage, "shown": SHOWN}

    @property
    def id(self) -> str:
        """The name of the diagnostics."""
        return content_id(self.encoded())


def plan_diagnosis(request: Request, embedding: Method = "pca", stage: int = -1) -> DiagnoseSpec:
    """What `bench diagnose` will do; whatever suite the request names does not matter."""
    other = [part for part in request.settings if part not in ("defense", "recipe")]
    if other:
        raise BadValue(
            f"--set {other[0]}.… is no part of a diagnosis, whose attack is {describe(ATTACK)}, "
            "expected defense.NAME or recipe.NAME"
        )
    examples = ATTACKS.examples if request.examples is None else request.examples
    suite = dataclasses.replace(ATTACKS, examples=None if examples == "all" else examples)
    budget = request.budget or source(request.data).budget
    return DiagnoseSpec(RunSpec(plan_training(request), suite, budget, request.checkpoint), embedding, stage)


def diagnose(spec: DiagnoseSpec, options: Options) -> Diagnostics:
    """The diagnostics of a defense: from the store where they are complete, else computed.

    What a defense lacks is left out, with the reason.

    Raises:
        BenchError: data, weights or store are not as they must be, or the code of what is stored has changed.
    """
    options.store.prepare()
    folder = folder_of(spec, options)
    sources = study_sources([*spec.run.modules, *_OWN])
    found = _stored(folder, sources, options)
    if found is not None:
        options.progress.say(f"diagnostics {spec.id} are complete: nothing was computed")
        return found
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    subject = subject_of(spec.run, options, spec.run.id, spec.stage, spec.embedding)
    shared, arrays = _look(subject)
    content = records.pack(arrays)
    made = sources_behind(spec.run, options.store, sources)
    where = next(subject.net.parameters(), subject.x).device
    found = Diagnostics(
        schema=records.SCHEMA,
        id=spec.id,
        arrays_sha256=records.sha256(content),
        spec=spec.encoded(),
        provenance=provenance(made, where, started, time.perf_counter() - clock),
        **_named(subject),
        **shared,
    )
    records.write(folder, found, content)
    return found


def folder_of(spec: DiagnoseSpec, options: Options) -> Path:
    """Where the diagnostics lie, or will."""
    return options.store.root / records.FOLDER / spec.id


def _stored(folder: Path, sources: Mapping[str, str], options: Options) -> Diagnostics | None:
    if options.stale == "rerun" or not (folder / records.FIGURES).is_file():
        return None
    found = records.read(folder).figures
    changed = study_changes(found.provenance.sources, sources)
    if changed and options.stale == "refuse":
        raise StaleRecord(
            f"diagnostics {found.id} were made by other code ({listed(changed)} changed since)",
            "--rerun to compute them again, or --accept-stale to see them as they are",
        )
    return found


def _look(subject: Subject) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Every portrait, or why there is none; the same wherever and whenever it is made."""
    progress = subject.options.progress
    progress.start(f"looking into {subject.spec.training.named.label}", len(PORTRAITS), "portraits")
    left_out: dict[str, str] = {}
    with seeded(seed_for(subject.identity, "look"), subject.x.device):
        clean, adversarial, held = answers(subject)
        parts: dict[str, Any] = {"clean": clean, "adversarial": adversarial}
        arrays = dict(held)
        for kind, portray in PORTRAITS.items():
            try:
                parts[kind], more = portray(subject)
                if both := sorted(set(arrays) & set(more)):
                    raise RuntimeError(f"two portraits have an array {both[0]!r}")
                arrays |= more
            except Lacking as reason:
                parts[kind], left_out[kind] = None, str(reason)
            progress.advance()
    progress.finish()
    return {**parts, "left_out": left_out}, arrays


def _named(subject: Subject) -> dict[str, Any]:
    """What was looked at."""
    spec, data, training = subject.spec, subject.data, subject.spec.training
    defense = training.named.defense
    return {
        "defense": training.named.label,
        "paper": defense.paper,
        "reconstruction": defense.reconstruction,
        "data": data.name,
        "data_digest": data.digest,
        "classes": data.classes,
        "architecture": training.architecture,
        "norm": spec.budget.norm.value,
        "eps": format_eps(spec.budget.eps),
        "seed": training.seed,
        "examples": len(subject.labels),
        "attack": describe(ATTACK),
        "knowledge": ATTACKS.trials[0].knowledge.label,
        "weights": training_of(spec, subject.trained, subject.net),
        "train_budget": training.budget.label,
    }
