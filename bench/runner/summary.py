"""What a run established, as a record."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import bench
from bench.api import Trial
from bench.core import lock
from bench.core.credit import broken, met
from bench.core.encoding import describe, differences
from bench.core.metrics import attack_success_rate, proportion, queries_to_success, withheld
from bench.core.outcomes import Outcomes, worst_case
from bench.core.threat import Feedback, format_eps
from bench.core.traits import CLIMBS_VICTIM
from bench.errors import BadValue
from bench.evaluate import diagnostics
from bench.evaluate.access import samples_of
from bench.evaluate.adaptive import answered_by
from bench.evaluate.engine import Arena
from bench.evaluate.follow_up import FollowUp, Scout, goes_on_from, in_doubt
from bench.plan import RunSpec
from bench.records.by_class import by_class_of
from bench.records.record import SCHEMA, Column, Doubt, Finding, Interval, Provenance, Record, Training
from bench.records.verdicts import verdicts_of
from bench.runner.card import card_of
from bench.runner.subject import Subject
from bench.train.fit import Trained
from bench.train.foreign import Foreign
from bench.train.recipes import recipe

PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "torchattacks", "pyautoattack", "robustbench"),
    *("foolbox", "adversarial-robustness-toolbox", "adv-lib"),
)
"""Whose versions a record holds."""


@dataclass
class ColumnCells:
    """What is known of each column, by its name."""

    outcomes: dict[str, Outcomes] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    flat_gradients: dict[str, int] = field(default_factory=dict)  # white-box columns only
    shared: dict[str, int] = field(default_factory=dict)  # examples whose images could be others' as well
    skipped: dict[str, str] = field(default_factory=dict)  # and why
    failed: dict[str, str] = field(default_factory=dict)  # and how


def summarise(subject: Subject, cells: ColumnCells, findings: list[Finding], made: Provenance) -> Record:
    """The record of a run.

    Raises:
        BadValue: there is no column to speak of.
    """
    spec, data, arena = subject.spec, subject.data, subject.arena
    if not cells.outcomes:
        reasons = "; ".join(f"{name}: {why}" for name, why in {**cells.skipped, **cells.failed}.items())
        raise BadValue(
            f"no column of {spec.suite.id} could be computed ({reasons})",
            None if cells.failed else "--suite whitebox",
        )
    first = next(iter(cells.outcomes.values()))
    worst = None if cells.failed else worst_case(list(cells.outcomes.values()))
    defense = spec.training.named.defense
    return Record(
        schema=SCHEMA,
        run_id=spec.id,
        status="failed" if cells.failed else "complete",
        defense=spec.training.named.label,
        paper=defense.paper,
        reconstruction=defense.reconstruction,
        suite=spec.suite.id,
        custom=bool(spec.custom),
        data=data.name,
        data_digest=data.digest,
        architecture=(defense.made_by if isinstance(defense, Foreign) else None)
        or spec.training.architecture,
        norm=spec.budget.norm.value,
        eps=format_eps(spec.budget.eps),
        seed=spec.training.seed,
        examples=len(first),
        clean=interval_of(first.correct),
        worst_case=None if worst is None else interval_of(worst),
        columns=tuple(_column(trial, spec.suite.trials, cells, arena) for trial in spec.suite.trials),
        findings=tuple(findings),
        training=training_of(spec, subject.trained, subject.net),
        spec=spec.encoded(),
        provenance=made,
        traits=tuple(sorted(trait.value for trait in arena.deployed.traits)),
        draws=arena.referee.draws,
        eot_samples=samples_of(arena.deployed, spec.numerics),
        robust_examples=None if worst is None else verdicts_of(first, worst),
        differs=spec.custom,
        by_class=by_class_of(first, worst, data.classes),
        doubt=doubt_of(spec.suite.trials, cells.outcomes),
    )


def findings_of(spec: RunSpec, cells: ColumnCells, classes: int) -> list[Finding]:
    """What the cells themselves give away; `classes`: how many the data set has."""
    gates = {trial.gate for trial in spec.suite.trials if isinstance(trial, FollowUp) and trial.gate}
    climbing = {
        trial.column
        for trial in spec.suite.trials
        if trial.knowledge.gradients in CLIMBS_VICTIM and not isinstance(trial, FollowUp | Scout)
    }
    return [
        *diagnostics.from_budget(cells.outcomes, spec.budget),
        *diagnostics.from_outcomes(cells.outcomes, cells.flat_gradients, climbing),
        *diagnostics.from_lending(cells.outcomes, cells.shared),
        *diagnostics.from_gates(sorted(gates), cells.outcomes),
        *diagnostics.from_order(cells.outcomes, classes, isinstance(spec.training.named.defense, Foreign)),
        *_from_scouts(spec.suite.trials, cells.outcomes),
    ]


def _from_scouts(trials: Sequence[Trial], outcomes: Mapping[str, Outcomes]) -> Iterator[Finding]:
    """What the scouts of each sweep say of the gradients."""
    for sweep in _sweeps(trials):
        scouts = [trial.column for trial in trials if isinstance(trial, Scout) and trial.sweep == sweep]
        yield from diagnostics.from_scouts([name for name in scouts if name in outcomes], outcomes)


def _sweeps(trials: Iterable[Trial]) -> list[int]:
    return sorted({trial.sweep for trial in trials if isinstance(trial, Scout)})


def doubt_of(trials: Sequence[Trial], outcomes: Mapping[str, Outcomes]) -> Doubt | None:
    """What the last sweep that was played leaves in doubt; None: the suite has none."""
    found = [in_doubt(trials, outcomes, sweep) for sweep in _sweeps(trials)]
    played = [doubt for doubt in found if doubt is not None]
    if not played:
        return None
    last, n = played[-1], len(next(iter(outcomes.values())))
    share = round(last.at_most / n, 6)
    return Doubt(last.attackers, last.met, last.broke, last.alone, share)


def provenance(
    sources: Mapping[str, str],
    device: torch.device,
    started: datetime.datetime,
    seconds: float,
    notes: tuple[str, ...] = (),
    figures: str = "",
) -> Provenance:
    """Where the numbers come from: the code, the packages, the machine, the time, the numerics' notes."""
    commit, dirty = _commit()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Provenance(
        version=bench.__version__,
        commit=commit,
        dirty=dirty,
        sources=dict(sources),
        packages={name: lock.installed_version(name) or "absent" for name in PACKAGES},
        python=platform.python_version(),
        device=f"{device.type} ({name})",
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        threads=torch.get_num_threads(),
        lock=lock.digest(),
        unlocked=tuple(f"{name} {version}" for name, version in sorted(lock.differing().items())),
        notes=notes,
        figures=figures,
        card=card_of(device) if device.type == "cuda" else {},
    )


def _column(trial: Trial, trials: Sequence[Trial], cells: ColumnCells, arena: Arena) -> Column:
    outcomes = cells.outcomes.get(trial.column)
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
        seconds=round(cells.seconds.get(trial.column, 0.0), 3),
        skipped=cells.skipped.get(trial.column),
        error=cells.failed.get(trial.column),
    )
    if outcomes is None:
        return column
    answered = trial.knowledge.feedback is not Feedback.NOTHING  # else passes are through networks of its own
    spent = queries_to_success(outcomes) if answered else None
    rate = attack_success_rate(outcomes)
    answers = answered_by(trial, arena, bool(outcomes.backwards.any()))
    return dataclasses.replace(
        column,
        robust=interval_of(outcomes.robust),
        attack_success_rate=None if rate is None else round(rate, 6),
        forwards=round(float(outcomes.forwards.mean()), 3),
        backwards=round(float(outcomes.backwards.mean()), 3),
        queries_mean=None if spent is None else round(spent[0], 3),
        queries_median=None if spent is None else spent[1],
        moved=int(outcomes.moved.sum()),
        lost=int(withheld(outcomes).sum()),
        invalid=int(outcomes.invalid.sum()),
        adaptive=bool(answers),
        answers=tuple(sorted(trait.value for trait in answers)),
        after=", ".join(goes_on_from(trial, trials, cells.outcomes)) or None,
        met=int(met(outcomes).sum()),
        broke=int(broken(outcomes).sum()),
    )


def interval_of(held: NDArray[np.bool_]) -> Interval:
    """The share of examples [n] that held, as records keep it."""
    share = proportion(held)
    return Interval(round(share.value, 6), round(share.low, 6), round(share.high, 6), share.count, share.n)


def training_of(spec: RunSpec, trained: Trained, net: nn.Module) -> Training:
    """How the weights of a run came to be."""
    training = spec.training
    changed = {}
    if not isinstance(training.named.defense, Foreign):
        changed = differences(training.recipe, recipe(training.data, training.recipe.name))
        if training.init is not None:
            changed["init"] = training.init.sha256[:12]
        if training.extra is not None:
            changed["extra"] = f"{training.extra.content}*{training.extra.share:g}"
    overrides = ",".join(f"{key}={value}" for key, value in sorted(changed.items()))
    known = spec.checkpoint == "best" or trained.epoch == trained.epochs  # it was measured of the kept epoch
    return Training(
        training_id=training.id,
        recipe=f"{training.recipe.name}[{overrides}]" if overrides else training.recipe.name,
        checkpoint=spec.checkpoint,
        epoch=trained.epoch if spec.checkpoint == "best" else trained.epochs,
        epochs=trained.epochs,
        seconds=round(float(trained.seconds), 1),
        validation_robust_accuracy=trained.validation_robust_accuracy if known else None,
        sha256=trained.sha256,
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        parents={role: parent.id for role, parent in training.parents},
    )


def recipe_of(spec: RunSpec, trained: Trained, net: nn.Module) -> str:
    """How studies name a training: its recipe, and the budget inside where it is not that of the attacks."""
    told = training_of(spec, trained, net).recipe
    if spec.training.budget == spec.budget or isinstance(spec.training.named.defense, Foreign):
        return told
    return f"{told}, trained at {spec.training.budget.label}"


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the code, and whether tracked files differ from it; None outside a checkout."""
    here = Path(bench.__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", ":/bench", ":/defenses")
        return git("rev-parse", "--short=12", "HEAD"), bool(changes)
    except (OSError, subprocess.SubprocessError):
        return None, None
