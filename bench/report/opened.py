"""What figures are drawn of, read from where names lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from bench.errors import BadData, BadValue
from bench.records import curves, detection, diagnostics, documents, shift, transfer
from bench.records.found import CURVE, DETECTION, DIAGNOSTICS, MATRIX, RUN, SHIFT, find, led_to
from bench.records.store import RunFolder, read_record
from bench.report.ground import suite_label
from bench.report.kinds import KINDS, kinds_of
from bench.report.queries import Run


@dataclass(frozen=True)
class Only:
    """What is left out of all that names lead to; None: nothing for that reason."""

    suite: str | None = None  # with or without its version
    data: str | None = None
    eps: Fraction | None = None
    examples: int | None = None

    def admits(self, one: Any) -> bool:
        """Whether a result is wanted."""
        held = _heading(one)
        return (
            (self.suite is None or self.suite in _suites(held))
            and self.data in (None, held.data)
            and self.eps in (None, Fraction(getattr(held, "eps", "0")))
            and self.examples in (None, held.examples)
        )

    @property
    def told(self) -> str:
        """As it was typed."""
        given = {"suite": self.suite, "data": self.data, "eps": self.eps, "examples": self.examples}
        return " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)


def opened(kind: str, names: Sequence[str], store: Path, only: Only) -> list[Any]:
    """All that one kind of figure is drawn of.

    Raises:
        BadData: a name leads nowhere, or a file is damaged.
        BadValue: nothing is left.
    """
    sources = KINDS[kind].sources
    there = [source for source in sources if all(led_to(name, store, source) for name in names)]
    source = there[0] if there else sources[0]
    read = _example_by_example if source is RUN and KINDS[kind].by_example else _READ[source.name]
    found = _wanted([read(path) for path in find(names, store, source)], only)
    if source is CURVE:
        axes = sorted({one.axis for one in found})
        found = [one for one in found if one.axis == kind]
        if not found:
            raise BadValue(
                f"{' and '.join(names)} lead to curves over {' and '.join(axes)}, expected one over {kind}",
                f"bench plot {axes[0]} {' '.join(names)}",
            )
    return found


def diagnosed(names: Sequence[str], store: Path, only: Only) -> list[diagnostics.Diagnosed]:
    """The diagnostics that names lead to."""
    return _wanted([diagnostics.read(path.parent) for path in find(names, store, DIAGNOSTICS)], only)


def only_kind(names: Sequence[str], store: Path) -> str | None:
    """The kind of figure that is meant where none is named; None: all that diagnostics hold.

    Raises:
        BadData: the names lead nowhere.
        BadValue: they lead to what can be drawn in several ways.
    """
    if all(led_to(name, store, DIAGNOSTICS) for name in names):
        return None
    for source in (CURVE, MATRIX, DETECTION, SHIFT):
        if all(led_to(name, store, source) for name in names):
            axes = {_curve(path).axis for path in find(names, store, source)} if source is CURVE else set()
            return str(axes.pop()) if len(axes) == 1 else kinds_of(source)[0]
    if all(led_to(name, store, RUN) for name in names):
        kinds = kinds_of(RUN)
        raise BadValue(
            f"{' '.join(names)} can be drawn in several ways, expected a kind of figure: {', '.join(kinds)}",
            f"bench plot {kinds[0]} {' '.join(names)} --out FOLDER",
        )
    find(names, store, DIAGNOSTICS)  # says what is there
    return None


def _wanted(found: list[Any], only: Only) -> list[Any]:
    left = [one for one in found if only.admits(one)]
    if not left:
        suites = sorted({suite for one in found for suite in _suites(_heading(one)) if "@" in suite})
        data = sorted({str(_heading(one).data) for one in found})
        of = ", ".join([*data, *suites])
        raise BadValue(f"{only.told} leaves nothing of {len(found)} that are of {of}, expected one of these")
    return left


def _heading(one: Any) -> Any:
    """Where a result says what it is of."""
    if isinstance(one, Run):
        return one.record
    if isinstance(one, diagnostics.Diagnosed):
        return one.figures
    return one[0] if isinstance(one, tuple) else one


def _suites(held: Any) -> tuple[str, ...]:
    """How a suite may be typed; results that are no runs have none."""
    if not hasattr(held, "suite"):
        return ()
    label = suite_label(held)
    return (label,) if held.custom else (label, label.partition("@")[0])


def _example_by_example(path: Path) -> Run:
    if path.name != RUN.file:
        raise BadData(
            f"{path} is a published record, which does not hold what happened to each example, expected a "
            "run in a store",
            "bench list runs",
        )
    return Run(read_record(path), RunFolder(path.parent).examples())


def _curve(path: Path) -> curves.Curve:
    found = documents.read(path, curves.Curve, curves.SCHEMA, "bench curve with --rerun")
    return cast(curves.Curve, _there(found, path))


def _detection(path: Path) -> tuple[detection.Detection, Mapping[str, detection.Scored]]:
    found = _there(detection.read(path.parent), path)
    return found, detection.read_scores(path.parent, found)


def _there(found: Any, path: Path) -> Any:
    if found is None:
        raise BadData(f"{path} is gone, expected what led there a moment ago")
    return found


_READ: Mapping[str, Callable[[Path], Any]] = {
    RUN.name: read_record,
    DIAGNOSTICS.name: lambda path: diagnostics.read(path.parent),
    CURVE.name: _curve,
    MATRIX.name: lambda path: _there(transfer.read(path.parent), path),
    DETECTION.name: _detection,
    SHIFT.name: lambda path: _there(
        documents.read(path, shift.Shift, shift.SCHEMA, "bench shift with --rerun"), path
    ),
}
"""By the name of a source: what reads one of its files."""
