"""What an audit reads from the store, and the commands that it names; nothing here loads torch."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.audit.case import Case
from bench.core.digest import found_again, source_digests
from bench.core.grammar import variant
from bench.core.outcomes import Outcomes
from bench.core.succession import changed_modules
from bench.core.threat import Budget, Norm, format_eps, parse_eps
from bench.data.catalog import DataSource, source
from bench.errors import BadData, BenchError
from bench.records.record import Check, Record
from bench.studies.shift.record import Shift
from bench.studies.table import study

if TYPE_CHECKING:
    from bench.runner.options import Options


def case_of(record: Record, options: Options) -> Case:
    """A run with what the store knows of its training.

    Raises:
        BadData: what the run did to each example is not in the store.
    """
    others = [held for held in options.store.records() if held.run_id != record.run_id]
    kin: list[tuple[Record, Mapping[str, Outcomes]]] = []
    for other in others:
        if not _is_kin(record, other):
            continue
        try:
            kin.append((other, options.store.run(other.run_id).examples()))
        except BadData as error:
            options.progress.say(f"run {other.run_id} is left out: {error}")
    return Case(
        record=record,
        outcomes=options.store.run(record.run_id).examples(),
        kin=tuple(kin),
        others=tuple(others),
        shifts=tuple(shifts_of(record, options.store.root)),
        command=ran(record),
        changed=tuple(changed_since(record)),
    )


def shifts_of(record: Record, store: Path) -> Iterator[Shift]:
    """What was measured of a run's weights under corruptions and in other poses.

    Raises:
        BadData: a file is damaged.
    """
    shifts = study("shift")
    for path in shifts.files(store):
        found: Shift | None = shifts.read(path)
        if found is None or record.training is None:
            continue
        theirs = found.network.sha256, found.spec["run"]["checkpoint"], found.data_digest
        if theirs == (record.training.sha256, record.training.checkpoint, record.data_digest):
            yield found


def changed_since(record: Record) -> list[str]:
    """The modules behind a record whose code is another now."""
    made = record.provenance.sources
    return changed_modules(made, source_digests(found_again(made)), randomized=record.draws > 1)


def ran(record: Record) -> str:
    """The command that made a record, without its suite."""
    words = ["bench", "run", *_which(record)]
    usual = _usual(record.data)
    if usual is None or usual.budget != Budget(Norm(record.norm), parse_eps(record.eps)):
        words += ["--norm", record.norm, "--eps", record.eps]
    return " ".join(map(shlex.quote, words))


def investigation(check: Check, case: Case) -> Check:
    """The check with a command that looks closer, where it needs one and has none."""
    if check.command is not None or check.verdict in ("pass", "info"):
        return check
    name, run_id = shlex.quote(case.record.defense), case.record.run_id
    words = " ".join(map(shlex.quote, _which(case.record)[2:]))
    over = {"A5": "eps", "A6": "eps", "A7": "steps"}
    if check.rule in over:
        command = f"bench curve {name} {words} --over {over[check.rule]}"
    elif check.rule == "A8":
        command = case.ask("--attack pgd --set attack.pgd.steps=400 --set attack.pgd.step_size=1/40")
    elif check.rule in ("A10", "A13"):
        command = case.ask("--attack square --knowledge scores")
    elif check.rule in ("A16", "A17", "A18"):
        command = case.ask("--suite adaptive")
    elif check.rule in _OF_CONTRACT:
        command = f"bench check {name}"
    else:
        command = f"bench show record {run_id}"
    return dataclasses.replace(check, command=command)


_OF_CONTRACT = ("P2", "P3", "P4", "P5", "P6", "P7")


def _which(record: Record) -> list[str]:
    """The options that name a training: the defense first, then its data."""
    words = ["--defense", record.defense, "--data", record.data]
    trained, spec = record.training, record.spec.get("training", {})
    architecture = spec.get("architecture")
    usual = _usual(record.data)
    if architecture and (usual is None or architecture != usual.architecture):
        words += ["--arch", architecture]
    name, changed = variant(trained.recipe, "the recipe", "") if trained is not None else ("short", {})
    if name != "short":
        words += ["--recipe", name]
    for key, value in changed.items():
        if key != "init":
            words += ["--set", f"recipe.{key}={value}"]
    inside = record.train_budget
    if inside is not None and (usual is None or inside != usual.budget):
        words += ["--train-eps", format_eps(inside.eps)]
    if record.seed:
        words += ["--seed", str(record.seed)]
    if trained is not None and trained.checkpoint != "best":
        words += ["--checkpoint", trained.checkpoint]
    return words


def _usual(data: str) -> DataSource | None:
    try:
        return source(data)
    except BenchError:  # a data set of the user's, known by its path only
        return None


def _is_kin(record: Record, other: Record) -> bool:
    """Whether another run attacked the same weights within the same budget."""

    def ground(r: Record) -> tuple[object, ...]:
        trained = r.training
        weights = (trained.training_id, trained.sha256, trained.checkpoint) if trained else None
        return r.defense, r.architecture, r.data_digest, r.norm, r.eps, weights

    return ground(record) == ground(other)
