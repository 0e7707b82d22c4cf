"""What records alone say about how an evaluation was set up, counted and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from bench.audit.case import Case, broken, is_of_others, kept, percent, unknown
from bench.core import credit
from bench.core.metrics import proportion
from bench.core.names import as_published
from bench.core.paired import holm, mcnemar
from bench.records.record import Check, Interval, Record
from bench.records.verdicts import worst_case_of

SEEDS = 3
"""How many trainings a claim of improvement needs."""

_EXACT = 1e-5  # records keep six decimals


def threat_model(case: Case) -> Check:
    """P1: nothing of the threat model is left unsaid."""
    record = case.record
    lacking = [name for name in ("norm", "eps", "data", "suite") if not getattr(record, name)]
    for trial in record.spec["suite"]["trials"]:
        knowledge: Mapping[str, Any] = trial.get("knowledge", {})
        lacking += [
            f"{trial['column']}.{name}"
            for name in ("level", "gradients", "feedback")
            if not knowledge.get(name)
        ]
    if lacking:
        return broken("P1", f"the record does not say {', '.join(lacking)}")
    levels = ", ".join(sorted({column.level for column in record.columns}))
    return kept(
        "P1",
        f"{record.budget} in the box [0, 1], any wrong class, {levels}; {len(record.columns)} columns say "
        "what they see",
    )


def intervals(case: Case) -> Check:
    """S1: each accuracy has its n and its Wilson interval, recomputed."""
    wrong = [name for name, held in _intervals(case.record) if not _is_wilson(held)]
    if wrong:
        return broken("S1", f"the interval of {wrong[0]} is not Wilson's")
    short = [(name, held.n) for name, held in _intervals(case.record) if held.n != case.record.examples]
    if short:
        return broken("S1", f"{short[0][0]} is of {short[0][1]} examples, the run of {case.record.examples}")
    worst = case.record.worst_case
    told = "" if worst is None else f"; the worst case has [{percent(worst.low)}, {percent(worst.high)}]"
    return kept(
        "S1", f"{len([*_intervals(case.record)])} intervals recomputed, n = {case.record.examples}{told}"
    )


def comparison(case: Case) -> Check:
    """S2: McNemar's exact test against every other defense on the same examples, by Holm."""
    record, ours = case.record, worst_case_of(case.record)
    others = _once_each(o for o in case.others if _is_comparable(record, o))
    command = f"{case.other('bench run --defense standard')} {case.attacked}"
    if not others:
        return unknown("S2", "no other defense was measured on the same examples under this suite", command)
    if ours is None:
        again = case.ask(case.attacked, "--rerun")
        return unknown("S2", "the record does not hold which examples stood", again)
    tested = [(other, *counts) for other in others if (counts := _won_and_lost(record, other)) is not None]
    if not tested:
        detail = "records of other defenses hold other examples, or not which of them stood"
        return unknown("S2", detail, command)
    values = holm([mcnemar(won, lost) for _, won, lost in tested])
    beaten = {o.run_id for (o, won, lost), p in zip(tested, values, strict=True) if p < 0.05 and won > lost}
    rivals = {o.defense for o, *_ in tested}
    better = rivals - {o.defense for o, *_ in tested if o.run_id not in beaten}  # than every network of it
    told = f"better than {', '.join(sorted(better))}" if better else "better than none of them"
    return kept("S2", f"{len(tested)} comparisons with other defenses, at 5 % by Holm: {told}")


def seeds(case: Case) -> Check:
    """S3: how many trainings there are that differ in their seed alone."""
    record = case.record
    if is_of_others(record):
        detail = "nothing was trained here: these weights are one training, whatever the seeds of attacks"
        return Check("S3", "info", detail)
    asked = _but_seed(record)
    by_seed = {o.seed: o for o in [*case.others, record] if _but_seed(o) == asked}
    held = _once_each(by_seed.values())  # a seed that changes no weights makes no training
    accuracy = {o.seed: o.worst_case.value for o in held if o.worst_case is not None}
    if len(by_seed) > 1 and len(held) == 1:
        return Check("S3", "info", f"{len(by_seed)} seeds have the same weights: no training depends on one")
    if len(accuracy) < SEEDS:
        free = next(seed for seed in range(len(by_seed) + 1) if seed not in by_seed)
        detail = f"{len(accuracy)} of {SEEDS} seeds: no claim of improvement rests on that"
        command = case.ask(case.attacked, f"--seed {free}")
        return unknown("S3", detail, command.replace(f" --seed {record.seed} ", " ", 1))
    values = np.array(list(accuracy.values()))
    listed = ", ".join(percent(value) for _, value in sorted(accuracy.items()))
    return kept(
        "S3", f"{len(values)} seeds: {percent(values.mean())} +- {100 * values.std(ddof=1):.1f} ({listed})"
    )


def choice(case: Case) -> Check:
    """S4: which epoch was taken, and by what."""
    trained = case.record.training
    if trained is None or not trained.epochs:
        detail = "nothing was trained here: how its authors chose the epoch is not known"
        if trained is not None and trained.parents:
            parts = ", ".join(sorted(trained.parents))
            detail = (
                f"nothing was trained beyond its parts ({parts}), whose own records say how it was chosen"
            )
        return Check("S4", "info", detail)
    what = f"the {trained.checkpoint} epoch, {trained.epoch} of {trained.epochs}"
    if trained.checkpoint == "best" and trained.validation_robust_accuracy is None:
        return kept("S4", f"{what}: the recipe keeps the last one, the test set played no part")
    if trained.checkpoint == "best":
        held = percent(trained.validation_robust_accuracy or 0.0)
        return kept("S4", f"{what}, by robust accuracy on held-out training images ({held})")
    return kept("S4", f"{what}, whatever its accuracy")


def identity(case: Case) -> Check:
    """S5: what identifies the number is there."""
    record, made = case.record, case.record.provenance
    held = {
        "eps": record.eps,
        "n": record.examples,
        "commit": made.commit,
        "data digest": record.data_digest,
        "code digests": made.sources,
        "device": made.device,
        "weights digest": record.training is None or record.training.sha256,
    }
    lacking = [name for name, value in held.items() if not value]
    if lacking:
        return broken("S5", f"the record lacks {', '.join(lacking)}", case.ask(case.attacked, "--rerun"))
    told = f"commit {made.commit}{' with changes' if made.dirty else ''}, data {record.data_digest}"
    return kept("S5", f"{told}, seed {record.seed}, {made.device}, {len(made.sources)} modules by digest")


def costs(case: Case) -> Check:
    """S6: passes, queries and time."""
    columns = [column for column in case.record.columns if column.robust is not None]
    trials = case.record.spec["suite"]["trials"]
    mute = {trial["column"] for trial in trials if trial["knowledge"]["feedback"] == "nothing"}
    lacking = [
        c.name
        for c in columns
        if None in (c.forwards, c.backwards) or (c.met and c.name not in mute and c.queries_median is None)
    ]
    if lacking:
        again = case.ask(case.attacked, "--rerun")
        return broken("S6", f"{lacking[0]} does not tell what it cost", again)
    passes = sum((c.forwards or 0) + (c.backwards or 0) for c in columns)
    seconds = sum(c.seconds for c in columns)
    return kept("S6", f"{passes:,.0f} passes per example in {len(columns)} columns, {seconds:,.0f} s")


def optimality(case: Case) -> Check:
    """S7: how much of what any column breaks each breaks."""
    broke = {name: credit.broken(held) for name, held in case.outcomes.items()}
    every = np.logical_or.reduce([*broke.values()])
    if not every.any():
        return kept("S7", "no column breaks anything, so none is better than another")
    share = {name: float(held.sum() / every.sum()) for name, held in broke.items()}
    best, least = max(share, key=share.__getitem__), min(share, key=share.__getitem__)
    told = f"{best} breaks {percent(share[best])}, {least} {percent(share[least])}"
    if any(column.after is not None for column in case.record.columns):
        told += "; a column that goes on from others met only what those had left"
    return kept("S7", f"of {int(every.sum())} broken examples {told}")


def recount(case: Case) -> Check:
    """S8: the table follows from the stored examples."""
    record = case.record
    right = int(next(iter(case.outcomes.values())).correct.sum())
    if right != record.clean.count:
        return broken(
            "S8", f"{right} are right when clean by the examples, {record.clean.count} by the record"
        )
    for column in record.columns:
        if column.robust is not None and int(case.outcomes[column.name].robust.sum()) != column.robust.count:
            counted = int(case.outcomes[column.name].robust.sum())
            return broken(
                "S8", f"{column.name} leaves {counted} by its examples, {column.robust.count} by the record"
            )
    again = case.ask(case.attacked, "--rerun")
    if case.changed:
        more = f" and {len(case.changed) - 1} more" if len(case.changed) > 1 else ""
        return Check("S8", "warn", f"the counts agree; {case.changed[0]}{more} changed since", again)
    return kept(
        "S8",
        f"{len(case.outcomes)} columns recounted, and the code is the record's",
        case.kept("verify"),
    )


APPLIED: Mapping[str, Callable[[Case], Check]] = {
    "P1": threat_model,
    "S1": intervals,
    "S2": comparison,
    "S3": seeds,
    "S4": choice,
    "S5": identity,
    "S6": costs,
    "S7": optimality,
    "S8": recount,
}
"""The rules that records decide."""


def _intervals(record: Record) -> Iterator[tuple[str, Interval]]:
    yield "clean", record.clean
    if record.worst_case is not None:
        yield "the worst case", record.worst_case
    for column in record.columns:
        if column.robust is not None:
            yield column.name, column.robust


def _is_wilson(held: Interval) -> bool:
    shares = np.arange(held.n) < held.count
    wanted = proportion(shares)
    pairs = ((held.value, wanted.value), (held.low, wanted.low), (held.high, wanted.high))
    return all(abs(told - true) < _EXACT for told, true in pairs)


def _is_comparable(record: Record, other: Record) -> bool:
    """Whether another defense was measured by the same attacks on the same data."""

    def ground(r: Record) -> tuple[object, ...]:
        return r.data_digest, r.budget, r.examples, *_measured(r)

    return ground(record) == ground(other) and record.defense != other.defense


def _won_and_lost(record: Record, other: Record) -> tuple[int, int] | None:
    """How many examples one keeps alone, and the other; None: not the same ones in the same order."""
    ours, theirs = worst_case_of(record), worst_case_of(other)
    held, against = record.robust_examples, other.robust_examples
    if ours is None or theirs is None or held is None or against is None or held.ids != against.ids:
        return None
    return int((ours & ~theirs).sum()), int((theirs & ~ours).sum())


def _but_seed(record: Record) -> tuple[object, ...]:
    """All that was chosen for a run but its seed, and what follows from that."""
    training = dict(record.spec.get("training", {}))
    for name in ("seed", "id", "parents", "name"):
        training.pop(name, None)
    recipe = None if record.training is None else record.training.recipe
    where = record.defense, record.architecture, record.data_digest, record.budget, record.examples
    return *where, recipe, as_published(training), *_measured(record)


def _measured(record: Record) -> tuple[object, ...]:
    """The attacks and how they were computed: a name alone says too little where parameters were chosen."""
    spec = record.spec
    attacked = as_published([spec["suite"].get("trials"), spec.get("numerics")])
    return record.suite, attacked, spec.get("checkpoint")


def _once_each(records: Iterable[Record]) -> list[Record]:
    """The records of which no later one has the same weights."""
    last: dict[object, Record] = {}
    for record in records:
        weights = record.run_id if record.training is None else record.training.sha256
        last[record.defense, weights] = record
    return list(last.values())
