"""An audit: every rule of the catalogue applied to a run, each result stored as soon as it is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bench.attacks.combine import Restarts
from bench.attacks.pgd import PGD
from bench.audit import convergence, probes, rules_of_attacks, rules_of_records, strength
from bench.audit.case import Case, kept, unknown
from bench.audit.examined import Examined
from bench.audit.gather import case_of, changed_since, investigation
from bench.core import credit
from bench.core.constructible import NotGiven
from bench.core.digest import content_id, file_sha256
from bench.core.encoding import decode
from bench.core.names import class_of, current
from bench.core.outcomes import REFUSED, Outcomes
from bench.core.threat import Budget, Source
from bench.data.dataset import Dataset, test_subset
from bench.data.load import load
from bench.errors import BadCheckpoint, BadData, BadValue
from bench.evaluate import diagnostics
from bench.evaluate.batches import AUTO, Batches
from bench.evaluate.engine import Chunk, part_of
from bench.evaluate.numerics import Numerics
from bench.nn.tf32 import tf32
from bench.records.record import Check, Record, to_json
from bench.records.rules import RULE_OF, RULES
from bench.records.store import Store, write_atomically
from bench.runner.options import Options, pick_device
from bench.runner.origins import data_of, give, give_code_of
from bench.runner.stale import require_fresh, study_sources
from bench.train.checkpoints import load_weights
from bench.train.fit import trained_in

EXAMPLES, LOOKED_AT = 200, 32
"""Of a run, for rules that attack; and for those that only look."""

Look = Callable[[Examined, Dataset], Iterable[Check]]


@dataclass(frozen=True)
class Stage:
    """Rules that are computed together from the deployed network."""

    rules: tuple[str, ...]
    look: Look


def audit(
    record: Record,
    options: Options,
    again: bool = False,
    data: str | None = None,
    code: tuple[str, ...] = (),
) -> Record:
    """The record with its audit, which is also in the store from now on.

    What the same code computed for an earlier audit is taken from the record, unless it is to be computed
    `again`; what follows from records alone always is computed, for the store may hold more of them now.
    `data` says where images of the user's own lie, `code` which Python files hold the user's own classes;
    without, they are looked for where they were.

    Raises:
        StaleRecord: other code made the record, and `options.stale` is "refuse".
        BenchError: data, weights or code are not those of the record.
    """
    give(code)
    give_code_of(record, options.store)
    changed = changed_since(record)
    hint = "--accept-stale to audit it as it is, or bench run again with --rerun"
    require_fresh(f"run {record.run_id} was made", changed, options, hint)
    case = case_of(record, options)
    version = content_id(study_sources([__name__]))
    held = [check for check in record.audit if check.verdict != "open" and check.code == version]
    known = {check.rule: dataclasses.replace(check, command=None) for check in held}  # files may have moved
    checks = {rule: known[rule] for stage in STAGES for rule in stage.rules if rule in known and not again}
    subject, images = subject_of(case, options, data)
    case = dataclasses.replace(case, traits=tuple(trait.value for trait in subject.deployed.traits))
    progress = options.progress
    done = sum(all(rule in checks for rule in stage.rules) for stage in STAGES)
    progress.start(f"auditing {record.defense} under {record.suite}", len(STAGES), "looks", done)
    for stage in STAGES:
        if all(rule in checks for rule in stage.rules):
            continue
        looked = _looked(stage, subject, images, case)
        checks |= {check.rule: dataclasses.replace(check, code=version) for check in looked}
        record = _kept(record, checks, case, options)
        progress.advance()
    progress.finish()
    for applied in (rules_of_records.APPLIED, rules_of_attacks.APPLIED):
        checks |= {rule: apply(case) for rule, apply in applied.items()}
    return _kept(record, _with_findings(checks, case), case, options)


def subject_of(case: Case, options: Options, name: str | None = None) -> tuple[Examined, Dataset]:
    """The deployed network of a run from its stored weights, with its first test images.

    Raises:
        BadData: the data set is not the record's, or its examples are others than the run's.
        BadCheckpoint: the weights are not there, or not the record's.
    """
    record, spec = case.record, case.record.spec
    folder, training = options.store.model(spec["training"]["id"]), spec["training"]
    name = name or data_of(folder, training.get("data_identity")) or training["data"]
    data = load(name, options.data_root, options.download, options.progress)
    if data.digest != record.data_digest:
        raise BadData(
            f"{record.data} has digest {data.digest} here and {record.data_digest} in run {record.run_id}, "
            "expected the same images",
            "--data-root, or --data, with what it was run with",
        )
    device = pick_device(options.device)
    data = data.to(device)
    defense = _defense(record)
    net = defense.build(data.task(spec["training"]["architecture"]))
    path, sha256 = _weights(record, options.store)
    load_weights(path, net, sha256)
    deployed = defense.deploy(net.to(device))
    wanted = spec["suite"]["chunk"] if deployed.randomized else EXAMPLES  # drawn for as the run drew
    rows = test_subset(data, min(wanted, record.examples))
    x, y = data.test.batch(rows)
    attack, times = strongest(record, case.outcomes)
    subject = Examined(
        deployed=deployed,
        budget=decode(spec["budget"], kind=Budget),
        num_classes=data.num_classes,
        chunk=Chunk(0, x, y, data.test.ids[rows.to(data.test.ids.device)]),
        identity=f"audit {record.run_id}",
        seed=record.seed,
        found=part_of(by_all(case.outcomes), 0, len(rows)),
        attack=attack,
        times=times,
        outdone=is_outdone(record, case.outcomes),
        numerics=decode(spec["numerics"], kind=Numerics),
        batches=Batches(options.batch_size or AUTO.get(device.type, 128)),
    )
    if not np.array_equal(subject.found.ids, subject.chunk.ids.cpu().numpy()):
        raise BadData(
            f"run {record.run_id} attacked other examples than the first {len(rows)} of {data.name} here, "
            "expected the same in the same order",
            "bench run again with --rerun",
        )
    deployed.predict.eval()
    return subject, data


def strongest(record: Record, outcomes: Mapping[str, Outcomes]) -> tuple[PGD, int]:
    """The white-box PGD of a run that broke most, and how often it played it; a usual one, and 0, without.

    What the columns that it goes on from had broken is not credited to it.
    """
    played = _played(record, outcomes)
    return (PGD(steps=50, step_size=Fraction(1, 10)), 0) if played is None else played[1:]


def is_outdone(record: Record, outcomes: Mapping[str, Outcomes]) -> bool:
    """Whether other columns of a run broke more than 1 % of its examples that its strongest PGD left.

    One example may always be. A single step that does better than PGD is no reason to excuse it.
    """
    played = _played(record, outcomes)
    if played is None:
        return True
    one_step = rules_of_attacks.RUNGS[0][1]
    trials = record.spec["suite"]["trials"]
    once = {trial["column"] for trial in trials if class_of(str(trial["attack"]["is"])) in one_step}
    alone = outcomes[played[0]].robust
    others = by_all({name: held for name, held in outcomes.items() if name not in once})
    return int((alone & ~others.robust).sum()) > max(1.0, rules_of_attacks.LOST * len(alone))


def _played(record: Record, outcomes: Mapping[str, Outcomes]) -> tuple[str, PGD, int] | None:
    """The column of a run's strongest white-box PGD, that attack, and how often it was played."""
    found: list[tuple[int, int, str, PGD, int]] = []
    for trial in record.spec["suite"]["trials"]:
        held = outcomes.get(trial["column"])
        is_pgd = current(str(trial["attack"]["is"])) in _PGDS
        if held is None or not is_pgd or trial["knowledge"]["gradients"] != Source.DEPLOYED.value:
            continue
        attack: Any = decode(trial["attack"])
        times = attack.times if isinstance(attack, Restarts) else 1
        inner = attack.attack if isinstance(attack, Restarts) else attack
        if isinstance(inner, PGD):
            broke = int(credit.broken(held).sum())
            found.append((-broke, -inner.steps * times, trial["column"], inner, times))
    return min(found, key=lambda item: item[:2])[2:] if found else None


def by_all(columns: Mapping[str, Outcomes]) -> Outcomes:
    """What the first column did, and to those that it left what any other did: the run as a whole."""
    one = next(iter(columns.values()))
    attacked = one.attacked
    for other in columns.values():
        stands = (attacked == one.labels) | (attacked == REFUSED)
        attacked = np.where(stands & ~other.robust, other.attacked, attacked)
    return dataclasses.replace(one, attacked=attacked)


def _network(subject: Examined, data: Dataset) -> list[Check]:
    """P2 to P7: what the network gives away."""
    x, y = subject.chunk.x[:LOOKED_AT], subject.chunk.y[:LOOKED_AT]
    found = diagnostics.from_network(subject.deployed, x, y, data.mean, data.std)
    broken = {RULE_OF[f.code]: Check(RULE_OF[f.code], f.severity, f"{f.code}: {f.detail}") for f in found}
    randomized = "is randomized, as it says" if subject.deployed.randomized else "answers twice the same"
    fine = {
        "P2": f"{len(x)} images get the same logits alone, in a batch and in another order",
        "P3": f"no other scaling of the pixels makes {len(x)} images easier",
        "P4": "the outputs are logits",
        "P5": f"cross-entropy, DLR and margin have gradients on {len(x)} images",
        "P6": "a forward pass computes no gradient",
        "P7": f"the network {randomized}",
    }
    if subject.deployed.randomized:
        fine["P2"] = "eval mode; its answers vary by intent, which P7 looks at"
    return [broken.get(rule, kept(rule, detail)) for rule, detail in fine.items()]


def _one(look: Callable[[Examined], Check]) -> Look:
    return lambda subject, data: [look(subject)]


STAGES: tuple[Stage, ...] = (
    Stage(("P2", "P3", "P4", "P5", "P6", "P7"), _network),
    Stage(("A21",), _one(probes.closed_form)),
    Stage(("A10",), _one(probes.landscape)),
    Stage(("A6",), _one(strength.whole_box)),
    Stage(("A8",), _one(convergence.convergence)),
    Stage(("A13",), _one(probes.noise)),
    Stage(("A16",), _one(probes.stand_in)),
    Stage(("A17",), _one(probes.averages)),
    Stage(("A18",), _one(probes.detector)),
    Stage(("A5",), _one(strength.radii)),
    Stage(("A7",), _one(strength.more)),
)
"""The rules that need the network, the cheap ones first."""

_PGDS = ("attack/pgd", "attack/restarts")

_RANK = ("block", "warn", "open", "info", "pass")


@tf32(False)
def _looked(stage: Stage, subject: Examined, data: Dataset, case: Case) -> Iterable[Check]:
    try:
        return list(stage.look(subject, data))
    except Exception as error:  # the defense's or the attack's fault: these rules stay open, with the reason
        why = f"it could not be computed ({type(error).__name__}: {error})"
        return [unknown(rule, why, None) for rule in stage.rules]


def _with_findings(checks: Mapping[str, Check], case: Case) -> dict[str, Check]:
    """What the run itself found wrong stands, whatever an audit finds right later."""
    found = rules_of_attacks.from_findings(case)
    worse = {r: c for r, c in found.items() if r not in checks or _rank(c) < _rank(checks[r])}
    looked = {r: checks[r].code if r in checks else None for r in worse}  # or it would be computed each time
    return {**checks, **{r: dataclasses.replace(c, code=looked[r]) for r, c in worse.items()}}


def _rank(check: Check) -> int:
    return _RANK.index(check.verdict)


def _kept(record: Record, checks: Mapping[str, Check], case: Case, options: Options) -> Record:
    """The record with these checks, in the catalogue's order, written at once; what was imported stays.

    Raises:
        BadData: the run was computed again, or is gone, since the audit began.
    """
    ordered = tuple(investigation(checks[rule], case) for rule in RULES if rule in checks)
    folder = options.store.run(record.run_id)
    with options.store.lock("run", record.run_id, options.progress.say):
        now = folder.record()
        if now is None or dataclasses.replace(now, audit=record.audit, imported=record.imported) != record:
            raise BadData(
                f"run {record.run_id} was computed again while it was audited, expected it as it was",
                f"bench audit {record.run_id}",
            )
        record = dataclasses.replace(now, audit=ordered)
        write_atomically(folder.path / "record.json", to_json(record).encode())
    return record


def _defense(record: Record) -> Any:
    try:
        return decode(record.spec["training"]["defense"])
    except NotGiven:
        raise BadValue(
            f"{record.defense} of run {record.run_id} is made by code of your own, expected its file",
            f"bench audit {record.run_id} --code FILE.py",
        ) from None


def _weights(record: Record, store: Store) -> tuple[Path, str | None]:
    """The file of a run's weights, and its SHA-256 when its training was complete."""
    trained = record.training
    if trained is None:
        raise BadCheckpoint(f"run {record.run_id} names no training, so there is no network to audit")
    path = store.model(trained.training_id) / f"{trained.checkpoint}.safetensors"
    if not path.is_file():
        raise BadCheckpoint(
            f"the weights of run {record.run_id} are not at {path}, expected those that it was made with",
            f"bench audit {record.run_id} --stored",
        )
    last = None if trained.checkpoint == "best" else trained_in(path.parent, trained.training_id)
    if trained.sha256 != (file_sha256(path) if last is None else last.sha256):
        raise BadCheckpoint(
            f"{path} has changed since run {record.run_id}, expected weights with SHA-256 "
            f"{trained.sha256[:12]}...",
            "bench run again with --rerun",
        )
    return path, None if last is None else last.files.get(path.name)
