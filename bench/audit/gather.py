"""What an audit reads from the store, and the commands that it names; nothing here loads torch."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.audit.case import Case, is_of_others
from bench.core.digest import found_again, source_digests
from bench.core.grammar import variant
from bench.core.names import current
from bench.core.outcomes import Outcomes
from bench.core.places import STORE
from bench.core.succession import changed_modules
from bench.core.threat import Budget, Norm, format_eps, parse_eps
from bench.data.catalog import DataSource, source
from bench.errors import BadData, BenchError
from bench.records.gathering import Skip, read_records
from bench.records.labels import is_label
from bench.records.origin import Origin, module_of, origin_of
from bench.records.record import LOADED, Check, Record
from bench.studies.shift.record import Shift
from bench.studies.table import study

if TYPE_CHECKING:
    from bench.runner.options import Options


def case_of(record: Record, options: Options) -> Case:
    """A run with what the store knows of its training.

    Raises:
        BadData: what the run did to each example is not in the store.
    """
    store, origin = options.store.root, origin_of(options.store.model(record.spec["training"]["id"]))

    def skip(error: BadData) -> None:
        options.progress.say(f"left out: {error.message}")

    others = [held for held in read_records(store, skip) if held.run_id != record.run_id]
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
        shifts=tuple(shifts_of(record, store, skip)),
        command=ran(record, origin, store),
        ground=" ".join(map(shlex.quote, _ground(record, origin, store))),
        suite=" ".join(map(shlex.quote, _attacked(record))),
        which=tuple(_which(record, origin)),
        changed=tuple(changed_since(record)),
    )


def shifts_of(record: Record, store: Path, skip: Skip) -> Iterator[Shift]:
    """What was measured of a run's weights under corruptions and in other poses; `skip`: see read_records."""
    shifts = study("shift")
    for path in shifts.files(store):
        try:
            found: Shift | None = shifts.read(path)
        except BadData as error:
            skip(error)
            continue
        if found is None or record.training is None:
            continue
        theirs = found.network.sha256, found.spec["run"]["checkpoint"], found.data_digest
        if theirs == (record.training.sha256, record.training.checkpoint, record.data_digest):
            yield found


def changed_since(record: Record) -> list[str]:
    """The modules behind a record whose code is another now."""
    made = record.provenance.sources
    return changed_modules(made, source_digests(found_again(made)), randomized=record.draws > 1)


def ran(record: Record, origin: Origin, store: Path) -> str:
    """The command that made a record, without its suite."""
    words = ["bench", "run", "--defense", *_which(record, origin), *_ground(record, origin, store)]
    return " ".join(map(shlex.quote, words))


def investigation(check: Check, case: Case) -> Check:
    """The check with a command that looks closer, where it needs one and has none."""
    if check.command is not None or check.verdict in ("pass", "info"):
        return check
    over = {"A5": "eps", "A6": "eps", "A7": "steps"}
    if check.rule in over:
        command = case.study(f"curve --over {over[check.rule]}")
    elif check.rule == "A8":
        command = case.ask("--attack pgd --set attack.pgd.steps=400 --set attack.pgd.step_size=1/40")
    elif check.rule in ("A10", "A13"):
        command = case.ask("--attack square --knowledge scores")
    elif check.rule in ("A16", "A17", "A18"):
        command = case.ask("--suite adaptive")
    elif check.rule in _OF_CONTRACT:
        command = case.study("diagnose") if is_of_others(case.record) else f"bench check {case.name}"
    else:
        command = case.kept("show record")
    return dataclasses.replace(check, command=command)


_OF_CONTRACT = ("P2", "P3", "P4", "P5", "P6", "P7")


def _which(record: Record, origin: Origin) -> list[str]:
    """What names a training besides its data: the defense, then options."""
    if is_of_others(record):
        return _loaded(record, origin)
    words = [_name(record.defense, origin), *_architecture(record)]
    trained = record.training
    name, changed = variant(trained.recipe, "the recipe", "") if trained is not None else ("short", {})
    if name != "short":
        words += ["--recipe", name]
    for key, value in changed.items():
        if key == "extra":
            words += ["--extra", origin.extra or "npz:FILE", "--extra-share", value.partition("*")[2]]
        elif key == "init":
            words += ["--init", origin.checkpoint or "FILE"]
        else:
            words += ["--set", f"recipe.{key}={value}"]
    inside, usual = record.train_budget, _usual(record.data)
    if inside is not None and (usual is None or inside != usual.budget):
        words += ["--train-eps", format_eps(inside.eps)]
    if trained is not None and trained.checkpoint != "best":
        words += ["--checkpoint", trained.checkpoint]
    return words + _seed(record)


def _loaded(record: Record, origin: Origin) -> list[str]:
    """The same of a network that others trained: its weights, what makes it, and what it is called."""
    held = dict(record.spec["training"]["defense"])
    factory, own = str(held.pop("factory", "")), held.get("source", "file") == "file"
    words = [_with_fields(LOADED if own else str(held["source"]), held)]
    words += ["--checkpoint", origin.checkpoint or "FILE"] if own else []
    words += ["--factory", origin.factory(factory)] if factory else _architecture(record)
    words += ["--label", record.defense] if is_label(record.defense) else []
    return words + _seed(record)


def _with_fields(name: str, held: Mapping[str, Any]) -> str:
    """The name of a network that others trained, with the fields that are not as usual."""
    from bench.core.encoding import encode
    from bench.registry import DEFENSES

    usual = encode(DEFENSES.get(name))
    known = ("is", "source", "weights", "config")  # the name, the file and what lies beside it say those
    changed = {key: value for key, value in held.items() if key not in known and value != usual.get(key)}
    fields = ",".join(f"{key}={value}" for key, value in sorted(changed.items()))
    return f"{name}[{fields}]" if fields else name


def _name(label: str, origin: Origin) -> str:
    """A defense as it is asked for: a label drops the folders of a file."""
    file, is_file, rest = label.partition(".py:")
    place = next((place for place in origin.code if is_file and module_of(place) == file), f"{file}.py")
    return f"{place}:{rest}" if is_file else label


def _architecture(record: Record) -> list[str]:
    architecture, usual = record.spec.get("training", {}).get("architecture"), _usual(record.data)
    is_usual = usual is not None and architecture == usual.architecture
    return [] if not architecture or is_usual else ["--arch", architecture]


def _seed(record: Record) -> list[str]:
    """The seed, and how many devices trained together, as far as they are not as usual."""
    devices = record.spec.get("training", {}).get("devices", 1)
    words = ["--seed", str(record.seed)] if record.seed else []
    return [*words, "--devices", str(devices)] if devices > 1 else words


def _ground(record: Record, origin: Origin, store: Path) -> list[str]:
    """The options that say on which data, and within which budget."""
    words, usual = ["--data", origin.data or record.data], _usual(record.data)
    if usual is None or usual.budget != Budget(Norm(record.norm), parse_eps(record.eps)):
        words += ["--norm", record.norm, "--eps", record.eps]
    return words if store == STORE else [*words, "--store", str(store.resolve())]


def _attacked(record: Record) -> list[str]:
    """The options that name the attacks of a run that was of no suite; of any other none."""
    from bench.core.encoding import encode
    from bench.plan import KNOWLEDGE, OF_ATTACKS
    from bench.registry import ATTACKS

    if record.suite.partition("@")[0] != OF_ATTACKS:
        return []
    words, known = [], ATTACKS.names()
    for trial in record.spec["suite"]["trials"]:
        kind = current(str(trial["attack"]["is"])).removeprefix("attack/")  # a library's is named so, too
        words += ["--attack", trial["column"] if trial["column"] in known else kind]
    seen = record.spec["suite"]["trials"][0]["knowledge"]
    return words + [
        w for word, held in KNOWLEDGE.items() if encode(held) == seen for w in ("--knowledge", word)
    ]


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
