"""What a record says twice, said the same: counts, shares, intervals, and the run behind it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bench.core.bitmap import unpacked
from bench.core.digest import content_id
from bench.core.text import one_line
from bench.records import by_class
from bench.records.record import Column, Interval, Record
from bench.records.resolved import run_contradiction

ROUNDING = 2e-6
"""Shares are rounded to six digits; by how much what is rounded twice may be off."""

_Z = 1.959963984540054
"""The normal quantile of a 95 % interval."""

_Held = NDArray[np.bool_]


def contradictions(record: Record) -> Iterator[str]:
    """One sentence for each thing that a record says in two ways; none of a record as it was made."""
    if (wrong := run_contradiction(record.spec)) is not None:
        yield f"its spec is that of no run ({wrong})"
        return
    yield from _of_identity(record)
    yield from _of_shares(record)
    yield from _of_columns(record)
    yield from _of_status(record)
    yield from _of_examples(record)
    yield from _of_doubt(record)
    if (wrong := by_class.contradiction(record)) is not None:
        yield f"{wrong} does not follow from its counts"


def unsound(held: Interval) -> str | None:
    """What of a share does not follow from its count and n; None: all does."""
    if not 0 <= held.count <= held.n or not held.n:
        return f"counts {held.count} of {held.n}, expected a share of at least one example"
    due = (held.count / held.n, *wilson(held.count, held.n))
    told = (held.value, held.low, held.high)
    in_order = 0 <= held.low <= held.value <= held.high <= 1
    if in_order and all(abs(a - b) <= ROUNDING for a, b in zip(told, due, strict=True)):
        return None
    value, low, high = due
    return (
        f"is {held.value:g} [{held.low:g}, {held.high:g}], and {held.count} of {held.n} make {value:.6f} "
        f"[{low:.6f}, {high:.6f}]"
    )


def wilson(count: int, n: int) -> tuple[float, float]:
    """The bounds of the 95 % score interval of a share (Wilson, JASA 1927).

    >>> [round(bound, 4) for bound in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    share, square = count / n, _Z * _Z
    middle = share + square / (2 * n)
    spread = _Z * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return (middle - spread) / (1 + square / n), (middle + spread) / (1 + square / n)


def _of_identity(record: Record) -> Iterator[str]:
    """Its id, and what it says of the run that its spec is."""
    if (due := content_id(record.spec)) != record.run_id:
        yield f"its run_id is {record.run_id}, and its spec is that of run {due}"
    spec, training, suite = record.spec, record.spec["training"], record.spec["suite"]
    told: dict[str, tuple[object, object]] = {
        "norm": (record.norm, spec["budget"]["norm"]),
        "eps": (Fraction(record.eps), Fraction(spec["budget"]["eps"])),
        "seed": (record.seed, training["seed"]),
        "data": (record.data, one_line(training["data"])),
        "suite": (record.suite, one_line(f"{suite['name']}@{suite['version']}")),
        "columns": ([c.name for c in record.columns], [trial["column"] for trial in suite["trials"]]),
        "levels": (
            [column.level for column in record.columns],
            [one_line(trial["knowledge"]["level"]) for trial in suite["trials"]],
        ),
    }
    if one_line(training["name"]) != record.defense.partition("[")[0]:
        told["defense"] = record.defense, one_line(training["name"])
    if (made := record.training) is not None:
        told["training_id"] = made.training_id, training["id"]
        told["parents"] = dict(made.parents), training["parents"]
        told["checkpoint"] = made.checkpoint, spec["checkpoint"]
    for name, (here, there) in told.items():
        if here != there:
            yield f"its {name} is {_shown(here)}, and {_shown(there)} in its spec"


def _of_shares(record: Record) -> Iterator[str]:
    """Every share of a run is of all its examples."""
    for place, held in _shares(record):
        if wrong := unsound(held):
            yield f"{place} {wrong}"
        if held.n != record.examples:
            yield f"{place} is of {held.n} examples, and the run of {record.examples}"


def _shares(record: Record) -> Iterator[tuple[str, Interval]]:
    yield "clean", record.clean
    if record.worst_case is not None:
        yield "worst_case", record.worst_case
    yield from ((column.name, column.robust) for column in record.columns if column.robust is not None)
    if record.evidence is not None:
        yield from (("evidence.again", record.evidence.again), ("evidence.rounded", record.evidence.rounded))
    for at, one in enumerate(record.imported):
        yield from ((f"imported.{at}.alone", one.alone), (f"imported.{at}.best_known", one.best_known))


def _of_columns(record: Record) -> Iterator[str]:
    for column in record.columns:
        for wrong in _of_column(record, column):
            yield f"{column.name} {wrong}"


def _of_column(record: Record, column: Column) -> Iterator[str]:
    robust, met, broke = column.robust, column.met, column.broke
    if sum(told is not None for told in (robust, column.skipped, column.error)) != 1:
        yield "has not one of an accuracy, a reason to be skipped and an error"
    if robust is None:
        return
    if robust.count > record.clean.count:
        yield f"leaves {robust.count} examples, and {record.clean.count} are right when clean"
    if met is None or broke is None:
        yield "does not say what it met and broke"
        return
    if met > record.clean.count or met - broke != robust.count:
        yield f"met {met} examples and broke {broke}, which does not leave the {robust.count} that it counts"
    rate = broke / met if met else None
    told = column.attack_success_rate
    if (told is None) != (rate is None) or abs((told or 0.0) - (rate or 0.0)) > ROUNDING:
        yield f"has a success rate of {told}, and broke {broke} of {met}"


def _of_status(record: Record) -> Iterator[str]:
    """Whether it is complete, and its worst case."""
    failed = [column.name for column in record.columns if column.error is not None]
    if bool(failed) != (record.status == "failed"):
        yield f"it is {record.status}, and {', '.join(failed) or 'no column'} failed"
    if (record.worst_case is None) != bool(failed):
        yield f"it has {'no' if record.worst_case is None else 'a'} worst case, and is {record.status}"
    left = {column.name: column.robust.count for column in record.columns if column.robust is not None}
    if not left:
        yield "no column was computed"
    elif record.worst_case is not None and record.worst_case.count > min(left.values()):
        lowest = min(left, key=left.__getitem__)
        yield f"its worst case leaves {record.worst_case.count} examples, and {lowest} alone {left[lowest]}"
    if record.spec["checkpoint"] != "best" and not record.custom:
        yield f"it is not custom, and its weights are those of the {record.spec['checkpoint']} epoch"


def _of_doubt(record: Record) -> Iterator[str]:
    """What attackers may have missed, as far as their counts say."""
    told = record.doubt
    if told is None:
        return
    if not 0 <= told.alone <= told.broke <= told.met <= record.clean.count or told.attackers < 2:
        yield f"its doubt is of {told.met} examples, {told.broke} broken, {told.alone} of them by only one"
    if not 0 <= told.at_most <= (told.met - told.broke) / record.examples + ROUNDING:
        yield f"its doubt is of {told.at_most:g}, more than what the attackers left"


def _of_examples(record: Record) -> Iterator[str]:
    """What held, example by example."""
    told, worst = record.robust_examples, record.worst_case
    if (told is None or worst is None) and told is not None:
        yield "it marks examples, and has no worst case"
    marked = {}
    if told is not None and worst is not None:
        marked = {"clean": (told.clean, record.clean), "worst_case": (told.worst_case, worst)}
    marked |= {f"imported.{at}": (one.robust, one.alone) for at, one in enumerate(record.imported)}
    held: dict[str, _Held] = {}
    for name, (text, share) in marked.items():
        try:
            held[name] = unpacked(text, record.examples)
        except ValueError as error:
            yield f"its marks of {name} cannot be read: {error}"
            return
        if int(held[name].sum()) != share.count:
            yield f"{int(held[name].sum())} examples are marked as {name} and {share.count} counted"
    yield from _of_marks(record, held)


def _of_marks(record: Record, held: Mapping[str, _Held]) -> Iterator[str]:
    known = held.get("worst_case")
    if known is not None and (known & ~held["clean"]).any():
        yield "examples that are wrong when clean are marked as robust"
    for at, one in enumerate(record.imported):
        alone = held[f"imported.{at}"]
        known = alone if known is None else known & alone
        if "worst_case" in held and int(known.sum()) != one.best_known.count:
            yield (
                f"imported.{at} leaves {one.best_known.count} examples at best, and {int(known.sum())} are "
                "marked by all"
            )
    kept, worst = record.evidence, record.worst_case
    if kept is not None and worst is not None and kept.images != record.clean.count - worst.count:
        broken = record.clean.count - worst.count
        yield f"it keeps {kept.images} adversarial images, and {broken} examples were broken"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
