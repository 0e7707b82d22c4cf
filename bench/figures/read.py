"""What figures are drawn of, read from where names lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.core.listing import typed_as, version
from bench.errors import BadData, BadValue, unknown
from bench.figures.kinds import KINDS, Drawer, kinds_of
from bench.figures.lookup import RUN, SOURCES, STUDIES, ResultSource, find, led_to
from bench.records.heading import Heading
from bench.records.store import RunFolder, read_record
from bench.report.queries import RunOutcomes
from bench.report.setting import suite_label
from bench.studies.table import study as row


@dataclass(frozen=True)
class Only:
    """What is left out of all that names lead to; None: nothing for that reason."""

    suite: str | None = None  # with its version, or the newest that there is
    data: str | None = None
    eps: Fraction | None = None
    examples: int | None = None
    defenses: tuple[str, ...] = ()  # of runs; with or without their fields; empty: all
    top: int | None = None  # of runs: so many defenses, the most robust

    def admits(self, one: Any) -> bool:
        """Whether a result is wanted, a record or a heading."""
        return (
            (self.suite is None or self.suite in _suites(one))
            and self.data in (None, one.data)
            and self.eps in (None, Fraction(one.eps))
            and self.examples in (None, one.examples)
        )

    def among(self, found: Sequence[Any]) -> Only:
        """The same for some records: a suite without its version is the newest that they were put under."""
        if self.suite is None or "@" in self.suite:
            return self
        others = replace(self, suite=None)
        there = [suite for one in found if others.admits(one) for suite in _suites(one)]
        known = [suite for suite in there if suite == f"{self.suite}@{version(suite)}"]
        return replace(self, suite=max(known, key=version, default=self.suite))

    @property
    def told(self) -> str:
        """As it was typed."""
        given = {"suite": self.suite, "data": self.data, "eps": self.eps, "examples": self.examples}
        return " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)


@dataclass(frozen=True)
class Drawable:
    """Results that figures of one kind are drawn of."""

    kind: str
    by: Drawer
    found: tuple[Any, ...]


def drawable(kind: str, names: Sequence[str], store: Path, only: Only) -> Drawable:
    """All that one kind of figure is drawn of.

    Raises:
        BadData: a name leads nowhere, or a file is damaged.
        BadValue: nothing is left, or what there is holds no such figure.
    """
    known = KINDS[kind].of
    by = next((one for one in known if _all_lead(names, store, one.source)), known[0])
    paths = find(names, store, by.source)
    if by.source is RUN:
        read = _example_by_example if by.by_example else read_record
        runs = [read(path) for path in paths]
        only = only.among([_record(run) for run in runs])
        left = [run for run in runs if only.admits(_record(run))]
        if not left:
            raise BadValue(_nothing_of([_record(run) for run in runs], only))
        return Drawable(kind, by, tuple(_chosen(left, only)))
    if only.defenses or only.top:
        raise BadValue(f"--only and --top choose among runs, and {kind} is drawn of {by.source.several}")
    found = _results(by.source, paths, only)
    held = [(one, path) for one, path in found if kind in _kinds(one, by.source)]
    if not held:
        raise BadValue(*_lacking(kind, names, [one for one, _ in found], by.source))
    return Drawable(kind, by, tuple(_whole(by.source, one, path) for one, path in held))


def all_drawable(names: Sequence[str], store: Path, only: Only) -> list[Drawable]:
    """Every kind of figure that the results hold which names lead to.

    Raises:
        BadData: the names lead nowhere.
        BadValue: they lead to runs, which can be drawn in several ways, or hold no figure.
    """
    for source in STUDIES.values():
        if _all_lead(names, store, source):
            found = [one for one, _ in _results(source, find(names, store, source), only)]
            kinds = [kind for kind in kinds_of(source) if any(kind in _kinds(one, source) for one in found)]
            if not kinds:
                raise BadValue(*_lacking(kinds_of(source)[0], names, found, source))
            return [drawable(kind, names, store, only) for kind in kinds]
    if _all_lead(names, store, RUN):
        kinds = kinds_of(RUN)
        raise BadValue(
            f"{' '.join(names)} can be drawn in several ways, expected a kind of figure: {', '.join(kinds)}",
            f"bench plot {kinds[0]} {' '.join(names)} --out FOLDER",
        )
    meant = next((source for source in SOURCES if led_to(names[0], store, source)), RUN)
    find(names, store, meant)  # says which name leads elsewhere
    raise BadData(
        f"{' '.join(names)} lead to results of several kinds, expected results of one", "bench list runs"
    )


def _chosen(runs: Sequence[Any], only: Only) -> list[Any]:
    """The runs of the defenses that are asked for, and of those the most robust."""
    there = list(dict.fromkeys(_record(run).defense for run in runs))
    for name in only.defenses:
        if not any(_is_named(defense, name) for defense in there):
            raise unknown("defense in --only", name, there, owner="what these names lead to")
    wanted = [d for d in there if not only.defenses or any(_is_named(d, name) for name in only.defenses)]
    left = [run for run in runs if _record(run).defense in wanted]
    if only.top is None:
        return left
    ranked = sorted(left, key=lambda run: -_worst(_record(run)))
    best = list(dict.fromkeys(_record(run).defense for run in ranked))[: only.top]
    return [run for run in left if _record(run).defense in best]


def _is_named(defense: str, name: str) -> bool:
    return name in (defense, defense.partition("[")[0])


def _worst(record: Any) -> float:
    return -1.0 if record.worst_case is None else float(record.worst_case.value)


def _all_lead(names: Sequence[str], store: Path, source: ResultSource) -> bool:
    return all(led_to(name, store, source) for name in names)


def _results(source: ResultSource, paths: Sequence[Path], only: Only) -> list[tuple[Heading, Path]]:
    """Results of a study with their files, without what is not wanted."""
    study = _study(source)
    found = [(_there(study.read(path), path), path) for path in paths]
    left = [(one, path) for one, path in found if only.admits(one)]
    if not left:
        raise BadValue(_nothing_of([one for one, _ in found], only))
    return left


def _study(source: ResultSource) -> Any:
    return row(next(name for name, held in STUDIES.items() if held is source))


def _kinds(one: Heading, source: ResultSource) -> Sequence[str]:
    """The kinds of figures that a result holds."""
    return kinds_of(source) if one.kinds is None else one.kinds


def _whole(source: ResultSource, one: Heading, path: Path) -> Any:
    """A result with what lies beside its file."""
    return _study(source).module("record").whole(one, path.parent)


def _lacking(
    kind: str, names: Sequence[str], found: Sequence[Heading], source: ResultSource
) -> tuple[str, str | None]:
    """What is wrong, and what to type instead."""
    kinds = list(dict.fromkeys(held for one in found for held in _kinds(one, source)))
    why = found[0].why_not(kind)
    reason = f" ({why})" if why else ""
    there = " or ".join(kinds) or "another result, because there is no figure in it"
    hint = f"bench plot {kinds[0]} {' '.join(names)}" if kinds else source.command
    return f"{' and '.join(names)} hold no {kind}{reason}, expected {there}", hint


def _nothing_of(found: Sequence[Any], only: Only) -> str:
    """What there is instead of what is wanted, of records or headings."""
    suites = sorted({suite for one in found for suite in _suites(one) if "@" in suite})
    of = ", ".join([*sorted({str(one.data) for one in found}), *suites])
    return f"{only.told} leaves nothing of {len(found)} that are of {of}, expected one of these"


def _record(one: Any) -> Any:
    """Where a result says what it is of."""
    return one.record if isinstance(one, RunOutcomes) else one


def _suites(held: Any) -> tuple[str, ...]:
    """How a suite may be typed; results of studies have none."""
    if isinstance(held, Heading):
        return ()
    label = suite_label(held)
    return (label,) if held.custom else (label, typed_as(label))


def _example_by_example(path: Path) -> RunOutcomes:
    if path.name != RUN.file:
        raise BadData(
            f"{path} is a published record, which does not hold what happened to each example, expected a "
            "run in a store",
            "bench list runs",
        )
    return RunOutcomes(read_record(path), RunFolder(path.parent).examples())


def _there(found: Any, path: Path) -> Any:
    if found is None:
        raise BadData(f"{path} is gone, expected what led there a moment ago", "bench list runs")
    return found
