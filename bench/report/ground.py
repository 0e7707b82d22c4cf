"""What records must share before their numbers may stand in one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from bench.core.digest import content_id
from bench.core.threat import format_eps
from bench.records.record import Record


@dataclass(frozen=True, order=True)
class Ground:
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

        >>> Ground("cifar10", "Linf", Fraction(8, 255), 1000).stem
        'cifar10-linf-8_255'
        """
        eps = format_eps(self.eps).replace("/", "_")
        safe = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in self.data)
        return f"{safe}-{self.norm.lower()}-{eps}"


def ground(record: Record) -> Ground:
    """Where a record belongs; 0.2 and 1/5 are the same radius."""
    return Ground(record.data, record.norm, Fraction(record.eps), record.examples)


def suite_label(record: Record) -> str:
    """The suite's id; a custom one is told apart by its content.

    >>> from types import SimpleNamespace
    >>> suite_label(SimpleNamespace(suite="smoke@1", custom=True, spec={"suite": {"examples": 8}}))
    'smoke@1~9df3'
    """
    chosen = [record.spec.get(part) for part in ("suite", "numerics", "checkpoint")]
    return f"{record.suite}~{content_id(chosen)[:4]}" if record.custom else record.suite


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels of suites as boards show them: attackers who see less come later, ensembles last.

    >>> in_order(["autoattack@1", "smoke@1", "blackbox@1", "whitebox@1"])
    ['whitebox@1', 'blackbox@1', 'autoattack@1', 'smoke@1']
    """
    places = {name: place for place, name in enumerate(_SUITES)}
    return sorted(set(labels), key=lambda label: (places.get(label.partition("@")[0], len(places)), label))


def unlike(one: Record, other: Record) -> str | None:
    """In what two records differ so that their numbers must not be compared; None where they may be."""
    first, second = ground(one), ground(other)
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


_SUITES = ("whitebox", "graybox", "blackbox", "adaptive", "fast", "autoattack")
