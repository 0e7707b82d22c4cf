"""What records must share before their numbers may stand in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from bench.core.digest import content_id
from bench.core.listing import place
from bench.core.threat import format_eps
from bench.errors import BadValue
from bench.records.heading import Heading
from bench.records.record import Record

Of = TypeVar("Of", bound=Heading)

LONGEST = 80
"""How many letters of a data set's name are in the names of files."""


@dataclass(frozen=True, order=True)
class Setting:
    """What rows must share to be compared."""

    data: str
    norm: str
    eps: Fraction
    n: int

    @property
    def label(self) -> str:
        """The ground as a title."""
        return f"{self.data}, {self.norm} {format_eps(self.eps)}, {self.n:,} examples"

    @property
    def stem(self) -> str:
        """The start of the board's file names, without the number of examples.

        >>> Setting("cifar10", "Linf", Fraction(8, 255), 1000).stem
        'cifar10-linf-8_255'
        """
        eps = format_eps(self.eps).replace("/", "_")
        safe = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in self.data).lstrip(".")
        if len(safe) > LONGEST or not safe:
            safe = f"{safe[:LONGEST]}-{content_id(self.data)}"
        return f"{safe}-{self.norm.lower()}-{eps}"


def setting(record: Record) -> Setting:
    """Where a record belongs; 0.2 and 1/5 are the same radius."""
    return Setting(record.data, record.norm, Fraction(record.eps), record.examples)


def by_setting(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each board, in order; a record given twice counts once.

    Images that differ under one name make boards of their own.
    """
    found: dict[tuple[Setting, str], list[Record]] = {}
    for record in distinct(records):
        found.setdefault((setting(record), record.data_digest), []).append(record)
    return [found[key] for key in sorted(found)]


def shared(records: Sequence[Record]) -> Setting:
    """Where all of these belong.

    Raises BadValue where they do not belong together.
    """
    if not records:
        raise BadValue("a board needs at least one record, but none was given", "bench run --board")
    first = records[0]
    for other in records[1:]:
        if setting(other) != setting(first):
            raise BadValue(
                f"records {first.run_id} ({setting(first).label}) and {other.run_id} "
                f"({setting(other).label}) "
                "cannot be ranked together, expected the same data, norm, eps and number of examples"
            )
        if other.data_digest != first.data_digest:
            raise BadValue(
                f"records {first.run_id} and {other.run_id} saw different images under the name "
                f"{first.data!r} ({first.data_digest} and {other.data_digest}), expected the same"
            )
    return setting(first)


def distinct(records: Sequence[Record]) -> list[Record]:
    """The records once each, by run id, so that their order changes no byte."""
    return sorted({record.run_id: record for record in records}.values(), key=lambda record: record.run_id)


def suite_label(record: Record) -> str:
    """The suite's id; a custom one is told apart by its content.

    >>> from types import SimpleNamespace
    >>> suite_label(SimpleNamespace(suite="smoke@1", custom=True, spec={"suite": {"examples": 8}}))
    'smoke@1~9df3'
    """
    chosen = [record.spec.get(part) for part in ("suite", "numerics", "checkpoint")]
    return f"{record.suite}~{content_id(chosen)[:4]}" if record.custom else record.suite


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels of suites, once each, as boards show them; see bench.core.listing."""
    return sorted(set(labels), key=place)


def unlike(one: Record, other: Record) -> str | None:
    """In what two records differ so that their numbers must not be compared; None where they may be."""
    first, second = setting(one), setting(other)
    sides = {
        "data": (first.data, second.data),
        "images under this name": (one.data_digest, other.data_digest),
        "norm": (first.norm, second.norm),
        "eps": (format_eps(first.eps), format_eps(second.eps)),
        "number of examples": (f"{first.n:,}", f"{second.n:,}"),
        "suite": (suite_label(one), suite_label(other)),
    }
    if one.robust_examples and other.robust_examples:
        sides["examples"] = (one.robust_examples.ids, other.robust_examples.ids)
    told = [f"the {what} ({a} and {b})" for what, (a, b) in sides.items() if a != b]
    return f"they differ in {' and '.join(told)}" if told else None


def require_alike(records: Sequence[Record]) -> None:
    """Raise BadValue unless all are complete, and of the same images and budget under one suite."""
    first = records[0]
    for record in records:
        if record.worst_case is None:
            raise BadValue(
                f"run {record.run_id} of {record.defense} has no worst case, expected a complete run",
                "bench list runs",
            )
        if difference := unlike(first, record):
            raise BadValue(
                f"runs {first.run_id} ({first.defense}) and {record.run_id} ({record.defense}) cannot be "
                f"compared: {difference}",
                f"--suite {suite_label(first)} --data {first.data} --eps {first.eps} "
                f"--examples {first.examples}",
            )


def require_same_images(records: Sequence[Record], kind: str, any_radius: bool = False) -> None:
    """Raise BadValue unless all are of the same images and budget, whatever the suite."""

    def of(record: Record) -> tuple[object, ...]:
        held = setting(record)
        return record.data_digest, held.norm, held.n, None if any_radius else held.eps

    def told(record: Record) -> str:
        return f"{record.data}, {record.norm if any_radius else record.budget}, {record.examples:,} examples"

    first = records[0]
    for record in records:
        if of(record) != of(first):
            raise BadValue(
                f"{kind} cannot be compared: run {first.run_id} is of {told(first)}, {record.run_id} of "
                f"{told(record)}, expected the same of all",
                f"--data {first.data} --eps {first.eps} --examples {first.examples}",
            )


def require_same_ground(
    found: Sequence[Of],
    what: str,
    ground: Callable[[Of], object],
    told: Callable[[Of], str],
    choose: str,
) -> Of:
    """The first of the results of a study, after all were found to stand on its ground.

    `what` they are, as a sentence names them; `told` of each where it stands, and `choose` is what to type.

    Raises:
        BadValue: one stands elsewhere.
    """
    first = found[0]
    for one in found:
        if ground(one) != ground(first):
            raise BadValue(
                f"{what} cannot be compared: {first.id} is of {told(first)}, {one.id} of {told(one)}, "
                "expected the same of all",
                f"{choose} --data {first.data} --examples {first.examples}",
            )
    return first
