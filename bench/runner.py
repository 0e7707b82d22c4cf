"""One RunSpec to one Record: load or fit, deploy, attack, judge, store."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import bench
from bench.api import Deployed, Trial
from bench.core.digest import source_digests
from bench.core.encoding import describe, differences
from bench.core.metrics import attack_success_rate, proportion, queries_to_success
from bench.core.outcomes import Outcomes, concatenate, worst_case
from bench.core.progress import Progress, Silent
from bench.core.seeds import seed_for
from bench.core.threat import Source, format_eps
from bench.data.dataset import Dataset, test_subset
from bench.data.load import load
from bench.errors import BadCheckpoint, BadValue, BenchError, StaleRecord
from bench.evaluate import diagnostics
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.plan import RunSpec, TrainSpec
from bench.records.record import SCHEMA, Column, Finding, Interval, Provenance, Record, Training
from bench.records.store import RunFolder, Store, StoredCell, write_atomically
from bench.train.checkpoints import load_weights
from bench.train.fit import Trained, train
from bench.train.recipes import recipe

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "torchattacks", "pyautoattack", "robustbench")


@dataclass(frozen=True)
class Options:
    """How a run is done; none of it changes the result."""

    store: Store
    data_root: Path | None = None
    device: str = "auto"
    devices: int = 1  # for training
    batch_size: int | None = None  # of attacks; None: by the device, halved when memory runs out
    stale: Literal["refuse", "rerun", "accept"] = "refuse"
    download: bool = True
    progress: Progress = field(default_factory=Silent)


def run(spec: RunSpec, options: Options) -> Record:
    """The record of a run: from the store where it is complete, else computed from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, or a stored record's code has changed.
    """
    options.store.prepare()
    folder = options.store.run(spec.id)
    sources = source_digests(spec.modules)
    found = _stored(folder, sources, options)
    if found is not None:
        options.progress.say(f"run {spec.id} is complete: this is its record, nothing was computed")
        return found
    return _Run(spec, options, folder, sources).record()


def fit(spec: TrainSpec, options: Options, data: Dataset | None = None) -> Trained:
    """The weights of a training, its parents first: from the store, or trained from where it stopped.

    Raises:
        BenchError: data, weights or store are not as they must be, the weights are of other code, or training
            failed. A training that could not begin leaves nothing behind.
    """
    options.store.prepare()
    data = data or load_data(spec, options)
    folder = options.store.model(spec.id)
    sources = source_digests(spec.modules)
    changed = _check_training(spec, folder, sources, options)
    parents = {role: _network(parent, options, data, "best") for role, parent in spec.parents}
    _open_training(spec, folder, sources, anew=changed and options.stale == "rerun")
    try:
        return train(
            spec.named.defense,
            data,
            data.task(spec.architecture),
            budget=spec.budget,
            recipe=spec.recipe,
            seed=spec.seed,
            identity=spec.id,
            parents=parents,
            folder=folder,
            device=options.device,
            devices=options.devices,
            progress=options.progress,
        )
    except BenchError:
        _leave_no_empty_folder(folder)
        raise
    except torch.OutOfMemoryError:
        raise BadValue(
            f"training {spec.named.label} in batches of {spec.recipe.batch_size} ran out of memory on "
            f"{options.device!r}, expected smaller batches or a device with more",
            f"--set recipe.batch_size={max(2, spec.recipe.batch_size // 2)}",
        ) from None


def load_data(spec: TrainSpec, options: Options) -> Dataset:
    """The data set of a training, on the device."""
    data = load(spec.data, options.data_root, options.download, options.progress)
    return data.to(pick_device(options.device))


def pick_device(name: str) -> torch.device:
    """The device that a user named.

    Raises:
        BadValue: it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if re.fullmatch(r"cpu|cuda(:\d+)?", name) is None:
        raise BadValue(f"the device is {name!r}, expected auto, cpu, cuda or cuda:N", "--device auto")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        there = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(count))])
        raise BadValue(
            f"the device {name!r} is not available here, expected one of {there}", "--device auto"
        ) from None
    return device


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
        spec, data, options = self.spec, self.data, self.options
        trained = fit(spec.training, options, data)
        net = _weights(spec.training, trained, data, spec.checkpoint)
        deployed = spec.training.named.defense.deploy(net.to(self.device))
        others = {who: _other(who, other, trained, options, data) for who, other in spec.others}
        batches = Batches(options.batch_size or AUTO.get(self.device.type, 128))
        arena = Arena(deployed, spec.budget, data.num_classes, others, spec.numerics, batches)
        rows = test_subset(data, spec.suite.examples)
        findings = diagnostics.from_network(deployed, data.test.batch(rows[:32])[0])
        _write_down(self.folder, spec, self.sources, options)
        outcomes, seconds, flat, notes = self._cells(arena, rows)
        findings += diagnostics.from_outcomes(outcomes, flat)
        record = self._summary(trained, net, outcomes, seconds, notes, findings)
        if record.status == "complete":
            self.folder.finish(record, outcomes)
        return record

    def _cells(
        self, arena: Arena, rows: torch.Tensor
    ) -> tuple[dict[str, Outcomes], dict[str, float], dict[str, int], dict[str, tuple[str, str]]]:
        """Every cell, stored or computed: outcomes, seconds, flat gradients, what failed; by column."""
        spec, progress = self.spec, self.options.progress
        chunks = torch.split(rows, spec.suite.chunk)
        outcomes: dict[str, Outcomes] = {}
        seconds: dict[str, float] = {}
        flat: dict[str, int] = {}
        notes: dict[str, tuple[str, str]] = {}
        progress.start(
            f"{spec.training.named.label} {spec.suite.id}", len(spec.suite.trials) * len(rows), "examples"
        )
        for trial in spec.suite.trials:
            reason = _skipped(trial, arena.deployed)
            if reason:
                notes[trial.column] = ("skipped", reason)
                progress.advance(len(rows))
                continue
            parts: list[StoredCell] = []
            for number, ids in enumerate(chunks):
                cell = self.folder.cell(trial.column, number)
                if cell is None:
                    x, y = self.data.test.batch(ids)
                    chunk = Chunk(number, x, y, self.data.test.ids[ids])
                    played = play(arena, trial, chunk, seed_for(spec.id, trial.column, number))
                    if played.outcomes is None:
                        self.folder.keep_error(trial.column, number, str(played.error))
                        notes[trial.column] = ("failed", str(played.error))
                        break
                    cell = StoredCell(played.outcomes, played.seconds, played.flat_gradients)
                    self.folder.keep_cell(trial.column, number, cell)
                parts.append(cell)
                progress.advance(len(ids))
            else:
                outcomes[trial.column] = concatenate([part.outcomes for part in parts])
                seconds[trial.column] = sum(part.seconds for part in parts)
                if trial.knowledge.gradients is Source.DEPLOYED:
                    flat[trial.column] = sum(part.flat_gradients for part in parts)
        progress.finish()
        return outcomes, seconds, flat, notes

    def _summary(
        self,
        trained: Trained,
        net: nn.Module,
        outcomes: Mapping[str, Outcomes],
        seconds: Mapping[str, float],
        notes: Mapping[str, tuple[str, str]],
        findings: list[Finding],
    ) -> Record:
        spec, data = self.spec, self.data
        if not outcomes:
            failed = "; ".join(f"{column}: {reason}" for column, (_, reason) in notes.items())
            raise BadValue(f"no column of {spec.suite.id} could be computed ({failed})")
        failed_any = any(kind == "failed" for kind, _ in notes.values())
        columns = tuple(
            _column(
                trial, outcomes.get(trial.column), seconds.get(trial.column, 0.0), notes.get(trial.column)
            )
            for trial in spec.suite.trials
        )
        first = next(iter(outcomes.values()))
        worst = None if failed_any else worst_case(list(outcomes.values()))
        defense = spec.training.named.defense
        return Record(
            schema=SCHEMA,
            run_id=spec.id,
            status="failed" if failed_any else "complete",
            defense=spec.training.named.label,
            paper=defense.paper,
            reconstruction=defense.reconstruction,
            suite=spec.suite.id,
            custom=spec.custom,
            data=data.name,
            data_digest=data.digest,
            architecture=spec.training.architecture,
            norm=spec.budget.norm.value,
            eps=format_eps(spec.budget.eps),
            seed=spec.training.seed,
            examples=len(first),
            clean=_interval(first.correct),
            worst_case=None if worst is None else _interval(worst),
            columns=columns,
            findings=tuple(findings),
            training=_training(spec, trained, net),
            spec=spec.encoded(),
            provenance=self._provenance(),
        )

    def _sources(self) -> dict[str, str]:
        """The code behind the record; where stale weights were accepted, the code that trained them."""
        made = dict(self.sources)
        waiting = [self.spec.training, *(other for _, other in self.spec.others)]
        while waiting:
            spec = waiting.pop()
            held = _trained_by(self.options.store.model(spec.id)) or {}
            made.update(
                {name: held[name] for name in _changed(held, source_digests(spec.modules)) if name in held}
            )
            waiting += [parent for _, parent in spec.parents]
        return dict(sorted(made.items()))

    def _provenance(self) -> Provenance:
        commit, dirty = _commit()
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.machine()
        return Provenance(
            version=bench.__version__,
            commit=commit,
            dirty=dirty,
            sources=self._sources(),
            packages={name: _version(name) for name in PACKAGES},
            python=platform.python_version(),
            device=f"{self.device.type} ({name})",
            started=self.started.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - self.clock, 1),
        )


def _stored(folder: RunFolder, sources: Mapping[str, str], options: Options) -> Record | None:
    if options.stale == "rerun":
        folder.forget()
        return None
    record = folder.record()
    if record is None:
        return None
    changed = _changed(record.provenance.sources, sources)
    if changed and options.stale == "refuse":
        raise StaleRecord(
            f"run {record.run_id} was made by other code ({_listed(changed)} changed since)",
            "--rerun to compute it again, or --accept-stale to see it as it is",
        )
    return record


def _write_down(folder: RunFolder, spec: RunSpec, sources: Mapping[str, str], options: Options) -> None:
    thrown = folder.begin(spec.encoded(), sources)
    if thrown:
        options.progress.say(
            f"{thrown} cells of run {spec.id} were computed by other code: computing them again"
        )


def _check_training(spec: TrainSpec, folder: Path, sources: Mapping[str, str], options: Options) -> bool:
    """Refuse weights that other code trained; gives whether there are such, and they were asked for."""
    held = _trained_by(folder)
    changed = _changed(held, sources) if held is not None else []
    if changed and options.stale == "refuse":
        raise StaleRecord(
            f"the weights {spec.id} of {spec.named.label} were trained by other code "
            f"({_listed(changed)} changed since)",
            "--rerun to train again, or --accept-stale to use them as they are",
        )
    return bool(changed)


def _open_training(spec: TrainSpec, folder: Path, sources: Mapping[str, str], anew: bool) -> None:
    """Note which code trains these weights, before any; `anew` drops what there is."""
    path = folder / "spec.json"
    if path.is_file() and not anew:
        return
    for old in folder.iterdir() if anew else ():
        if old != path:  # replaced last: after a kill, what is left still counts as other code's
            old.unlink()
    content = json.dumps({"spec": spec.encoded(), "sources": dict(sources)}, indent=1, sort_keys=True)
    write_atomically(path, content.encode())


def _trained_by(folder: Path) -> dict[str, str] | None:
    """The digests of the code that trained the weights in a folder; None: nothing was trained there."""
    path = folder / "spec.json"
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["sources"])
    except (ValueError, KeyError, TypeError):
        raise BadCheckpoint(f"{path} is damaged", f"rm -r {folder} and train again") from None


def _leave_no_empty_folder(folder: Path) -> None:
    if {file.name for file in folder.iterdir()} == {"spec.json"}:
        (folder / "spec.json").unlink()
        folder.rmdir()


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _network(
    spec: TrainSpec, options: Options, data: Dataset, checkpoint: Literal["best", "last"]
) -> nn.Module:
    """A trained network, frozen and in eval mode."""
    net = _weights(spec, fit(spec, options, data), data, checkpoint)
    return net.to(pick_device(options.device)).eval().requires_grad_(False)


def _weights(
    spec: TrainSpec, trained: Trained, data: Dataset, checkpoint: Literal["best", "last"]
) -> nn.Module:
    net = spec.named.defense.build(data.task(spec.architecture))
    load_weights(trained.folder / f"{checkpoint}.safetensors", net)
    return net


def _other(who: Source, spec: TrainSpec, victim: Trained, options: Options, data: Dataset) -> nn.Module:
    """A network that attackers own: its predict is attacked, and it is never the victim itself."""
    trained = fit(spec, options, data)
    if trained.sha256 == victim.sha256:
        raise BadCheckpoint(
            f"the {who.value} of this run has the victim's own weights ({victim.sha256[:12]}), "
            "expected another network",
            "--seed with another number",
        )
    net = _weights(spec, trained, data, "best")
    net.to(pick_device(options.device)).eval().requires_grad_(False)
    deployed = spec.named.defense.deploy(net)
    return deployed.attackable or deployed.predict


def _skipped(trial: Trial, deployed: Deployed) -> str | None:
    if trial.knowledge.gradients is Source.CLASSIFIER and deployed.classifier is None:
        return "the defense is its classifier: nothing around it is hidden"
    if getattr(trial.attack, "loss", None) == "adaptive" and deployed.adaptive_loss is None:
        return "the defense states no adaptive loss"
    return None


def _column(trial: Trial, outcomes: Outcomes | None, seconds: float, note: tuple[str, str] | None) -> Column:
    kind, reason = note or ("", None)
    column = Column(
        name=trial.column,
        attack=describe(trial.attack),
        level=trial.knowledge.level,
        knowledge=trial.knowledge.label,
        robust=None,
        attack_success_rate=None,
        forwards=None,
        backwards=None,
        queries_mean=None,
        queries_median=None,
        seconds=round(seconds, 3),
        skipped=reason if kind == "skipped" else None,
        error=reason if kind == "failed" else None,
    )
    if outcomes is None:
        return column
    mean, median = queries_to_success(outcomes)
    rate = attack_success_rate(outcomes)
    return dataclasses.replace(
        column,
        robust=_interval(outcomes.robust),
        attack_success_rate=None if rate is None else round(rate, 6),
        forwards=round(float(outcomes.forwards.mean()), 3),
        backwards=round(float(outcomes.backwards.mean()), 3),
        queries_mean=round(mean, 3),
        queries_median=median,
        moved=int(outcomes.moved.sum()),
        lost=int(outcomes.lost.sum()),
        invalid=int(outcomes.invalid.sum()),
    )


def _interval(held: NDArray[np.bool_]) -> Interval:
    share = proportion(held)
    return Interval(round(share.value, 6), round(share.low, 6), round(share.high, 6), share.count, share.n)


def _training(spec: RunSpec, trained: Trained, net: nn.Module) -> Training:
    training = spec.training
    changed = differences(training.recipe, recipe(training.data, training.recipe.name))
    overrides = ",".join(f"{key}={value}" for key, value in sorted(changed.items()))
    return Training(
        training_id=training.id,
        recipe=f"{training.recipe.name}[{overrides}]" if overrides else training.recipe.name,
        checkpoint=spec.checkpoint,
        epoch=trained.epoch if spec.checkpoint == "best" else trained.epochs,
        epochs=trained.epochs,
        seconds=round(float(trained.seconds), 1),
        validation_robust_accuracy=trained.validation_robust_accuracy,
        sha256=trained.sha256,
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        parents={role: parent.id for role, parent in training.parents},
    )


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the code, and whether tracked files differ from it; None outside a checkout."""
    here = Path(bench.__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD"), bool(git("status", "--porcelain", "--", "*.py"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
