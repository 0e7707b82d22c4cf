"""Which records the names on a command line stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import click

from bench.cli.board import records_of
from bench.cli.left_out import left_out
from bench.core.exact import whole
from bench.core.listing import DEFAULT, version
from bench.core.threat import parse_eps
from bench.errors import BadValue
from bench.publish import read_records
from bench.records.labels import named_so
from bench.records.record import Record
from bench.report.setting import require_alike, setting, suite_label


@dataclass(frozen=True)
class RecordFilter:
    """What the records of a defense that is given by name are to be of; None: whatever there is."""

    suite: str | None  # without its version: the newest that all defenses have
    fields: Mapping[str, object]  # of records
    radius: Fraction | None = None
    recipe: str | None = None  # its name, with what was overridden
    train_radius: Fraction | None = None

    @classmethod
    def of(
        cls,
        suite: str | None,
        *,
        data: str | None = None,
        norm: str | None = None,
        eps: str | None = None,
        examples: str | None = None,
        arch: str | None = None,
        recipe: str | None = None,
        train_eps: str | None = None,
        seed: int | None = None,
    ) -> RecordFilter:
        """What was typed.

        Raises:
            BadValue: the number of examples or the radius is none.
        """
        fields = {
            "data": data,
            "norm": None if norm is None else norm.capitalize(),
            "examples": None if examples is None else _number(examples),
            "architecture": arch,
            "seed": seed,
        }
        radius, inside = (None if text is None else parse_eps(text) for text in (eps, train_eps))
        return cls(suite, fields, radius, recipe, inside)

    def admits(self, record: Record) -> bool:
        """Whether a record is of it; a custom suite only where its label is given in full."""
        return (
            self._is_of_suite(record)
            and all(value is None or getattr(record, name) == value for name, value in self.fields.items())
            and self.radius in (None, Fraction(record.eps))
            and (self.recipe is None or record.recipe in (self.recipe, f"{self.recipe}, {record.trained_at}"))
            and (self.train_radius is None or self.train_radius == _radius_in_training(record))
        )

    def _is_of_suite(self, record: Record) -> bool:
        label = suite_label(record)
        if self.suite is None:
            return not record.custom
        return self.suite == (label if record.custom or "@" in self.suite else label.partition("@")[0])


def _number(text: str) -> int:
    try:
        return whole(text)
    except ValueError:
        raise BadValue(f"--examples is {text!r}, expected a number", "--examples 500") from None


def _radius_in_training(record: Record) -> Fraction | None:
    return None if record.train_budget is None else record.train_budget.eps


def selected(names: Sequence[str], store: Path, wanted: RecordFilter) -> dict[str, list[Record]]:
    """The records behind each name, as it was typed: a run id's or a file's own, else those that are wanted.

    Raises:
        BenchError: a name leads nowhere, or to networks of several kinds.
    """
    there = read_records(store, left_out) if store.exists() else []
    held: dict[str, list[Record]] = {}
    labels = {record.defense for record in there}
    found: dict[str, list[Record]] = {}
    for name in names:
        behind = named_so(name, there)
        if not behind:
            behind = records_of((name,), store)
            if len(behind) == 1:
                found[name] = behind
                continue
        held[name] = behind
        found[name] = sorted(filter(wanted.admits, behind), key=lambda record: record.seed)
        if not found[name]:
            grounds = sorted({_told(record) for record in behind})
            under = f" under {wanted.suite}" if wanted.suite else ""
            raise BadValue(
                f"{name} has no record{under} with what was asked for, its records are of "
                f"{'; '.join(grounds)}",
                "another --suite, --data, --eps, --examples, --arch, --recipe or --train-eps"
                + (
                    f"; or bench run --defense {name} --suite {wanted.suite or DEFAULT}"
                    if name in labels
                    else ""
                ),
            )
    chosen = _of_one_kind(_on_one_ground(_of_one_version(found, wanted)), labels)
    for name in held:
        if Path(name).is_dir():
            _tell_left_out(name, held[name], chosen[name])
    return chosen


def _tell_left_out(name: str, behind: Sequence[Record], chosen: Sequence[Record]) -> None:
    """Say on stderr which records of a folder are not among those that were chosen."""
    runs = {record.run_id for record in chosen}
    rest = Counter(_told(record) for record in behind if record.run_id not in runs)
    if not rest:
        return
    told = [f"{count} of {ground}" for ground, count in rest.most_common(_TOLD)]
    more = f"; and {len(rest) - _TOLD} grounds more" if len(rest) > _TOLD else ""
    click.echo(
        f"bench: {name}: {len(chosen)} of {len(behind)} records are taken, left out are "
        f"{'; '.join(told)}{more}",
        err=True,
    )


_TOLD = 6
"""On how many grounds a folder's other records are told."""


def alike(found: Mapping[str, Sequence[Record]]) -> list[Record]:
    """All of them, each once, if they may be compared.

    Raises:
        BadValue: they may not, or there is only one.
    """
    records = list({record.run_id: record for records in found.values() for record in records}.values())
    if len(records) < 2:
        raise BadValue(
            f"{' and '.join(found)} lead to one record, expected at least two to compare", "bench compare A B"
        )
    require_alike(records)
    return records


def _of_one_version(found: dict[str, list[Record]], wanted: RecordFilter) -> dict[str, list[Record]]:
    """Of defenses with several versions of one suite, the newest that all have; else what there is.

    Where no suite was asked for, the usual one of a run is, if all have it.
    """
    name = wanted.suite or DEFAULT
    common = set.intersection(*({record.suite for record in records} for records in found.values()))
    versions = [suite for suite in common if suite.partition("@")[0] == name]
    if "@" in name or not versions:
        return found
    newest = max(versions, key=version)
    return {given: [one for one in records if one.suite == newest] for given, records in found.items()}


def _on_one_ground(found: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Of defenses with records on several grounds, those on the one that all share."""

    def place(record: Record) -> tuple[str, str]:
        return _told(record), record.data_digest

    places = {name: {place(record) for record in records} for name, records in found.items()}
    several = sorted(name for name, held in places.items() if len(held) > 1)
    common = set.intersection(*places.values())
    if several and len(common) > 1:
        listed = "; ".join(sorted(label for label, *_ in common))
        raise BadValue(
            f"{' and '.join(several)} can be compared on {len(common)} grounds ({listed}), expected one",
            "--suite NAME, --data NAME, --eps RADIUS or --examples N",
        )
    if not several or not common:
        return found
    return {name: [r for r in records if place(r) in common] for name, records in found.items()}


def _told(record: Record) -> str:
    return f"{setting(record).label}, {suite_label(record)}"


def _of_one_kind(found: dict[str, list[Record]], labels: set[str]) -> dict[str, list[Record]]:
    for name in labels & set(found):
        made = sorted({f"{record.architecture} by {record.recipe}" for record in found[name]})
        if len(made) > 1:
            raise BadValue(
                f"{name} has networks of {len(made)} kinds ({', '.join(made)}), expected one",
                "--arch NAME, --recipe NAME or --train-eps RADIUS",
            )
    return found
