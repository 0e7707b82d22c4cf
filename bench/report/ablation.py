"""A method with its switches turned one by one, as one table; read from records and outcomes alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench.core.outcomes import Outcomes, worst_case
from bench.core.paired import Difference, paired_difference
from bench.records.record import Record
from bench.report.render import Cell, ColumnKind, Table, TableColumn

FULL = "full method"
"""The row that the others are compared with: nothing is changed."""


@dataclass(frozen=True)
class Variant:
    """One row: the run of a method with some fields changed, or why there is none."""

    label: str
    group: str | None = None  # what kind of change it is; None: the full method
    fields: Mapping[str, str] = field(default_factory=dict)  # what is changed, as typed
    record: Record | None = None
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)  # by column; empty: the run has failed
    failed: str | None = None  # why there is no record

    @property
    def changed(self) -> str | None:
        """The changed fields in one line.

        >>> Variant("no AGKD", "parts", {"agkd": "false"}).changed
        'agkd=false'
        """
        return ",".join(f"{name}={value}" for name, value in self.fields.items()) or None

    @property
    def note(self) -> str | None:
        """What happened besides the numbers."""
        if self.record is None:
            return f"failed: {self.failed}"
        columns = self.record.columns
        said = [f"{column.name} failed: {column.error}" for column in columns if column.error is not None]
        said += [f"without {column.name}" for column in columns if column.skipped is not None]
        said += sorted({finding.code for finding in self.record.findings})
        return "; ".join(said) or None


def difference(variant: Variant, full: Variant) -> Difference | None:
    """What a variant keeps more than the full method in the worst case; None where one has no worst case.

    Raises ValueError for runs on different examples.
    """
    if variant is full or not variant.outcomes or not full.outcomes:
        return None
    ours, theirs = list(variant.outcomes.values()), list(full.outcomes.values())
    if not np.array_equal(ours[0].ids, theirs[0].ids):
        raise ValueError(f"{variant.label} and {full.label} were attacked on different examples")
    return paired_difference(worst_case(ours), worst_case(theirs))


def ablation_table(name: str, suite: str, variants: Sequence[Variant]) -> Table:
    """Every variant of a method, the full one first, under one suite."""
    full = variants[0]
    records = [variant.record for variant in variants if variant.record is not None]
    trials = list(dict.fromkeys(column.name for record in records for column in record.columns))
    columns = (
        TableColumn("run", "run", only_csv=True),
        TableColumn("defense", "defense", only_csv=True),
        TableColumn("part", "part"),
        TableColumn("variant", "variant"),
        TableColumn("changed", "changed", dispensable=1),
        TableColumn("clean %", "clean", ColumnKind.INTERVAL),
        *(TableColumn(trial, trial, ColumnKind.INTERVAL, only_csv=True) for trial in trials),
        TableColumn("worst case %", "worst_case", ColumnKind.INTERVAL),
        TableColumn("difference in points", "difference", ColumnKind.DIFFERENCE),
        TableColumn("won", "won", ColumnKind.COUNT, only_csv=True),
        TableColumn("lost", "lost", ColumnKind.COUNT, only_csv=True),
        TableColumn("training seconds", "training_seconds", ColumnKind.NUMBER, dispensable=2),
        TableColumn("note", "note"),
    )
    rows = tuple(_cells(variant, full, trials) for variant in variants)
    return Table(f"ablations of {name} under {suite}", columns, rows, _facts(records), _notes(variants))


def ablation_json(name: str, suite: str, variants: Sequence[Variant]) -> str:
    """The same as indented JSON, with a newline at the end; shares are fractions."""
    rows = [_plain(variant, difference(variant, variants[0])) for variant in variants]
    told = {"defense": name, "suite": suite, "rows": rows}
    return json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _cells(variant: Variant, full: Variant, trials: Sequence[str]) -> tuple[Cell, ...]:
    record, found = variant.record, difference(variant, full)
    robust = {column.name: column.robust for column in record.columns} if record else {}
    trained = record.training if record else None
    return (
        record.run_id if record else None,
        record.defense if record else None,
        variant.group,
        variant.label,
        variant.changed,
        record.clean if record else None,
        *(robust.get(trial) for trial in trials),
        record.worst_case if record else None,
        found,
        found.won if found else None,
        found.lost if found else None,
        trained.seconds if trained else None,
        variant.note,
    )


def _facts(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    if not records:
        return ()
    first = records[0]
    facts = [
        ("data", f"{first.data}, {first.examples} examples"),
        ("budget", first.budget),
        ("architecture", first.architecture),
        ("recipe", first.recipe),
        ("seed", str(first.seed)),
    ]
    return tuple([("paper", first.paper), *facts] if first.paper else facts)


def _notes(variants: Sequence[Variant]) -> tuple[str, ...]:
    records = [variant.record for variant in variants if variant.record is not None]
    notes = [f"a reconstruction: {record.reconstruction}" for record in records[:1] if record.reconstruction]
    compared = sum(difference(variant, variants[0]) is not None for variant in variants)
    if compared:
        notes.append(
            f"difference: worst case minus that of the {variants[0].label}, on the same examples, with "
            "Newcombe's 95 % interval for paired shares; it covers the choice of examples, not of the seed"
        )
    if compared > 1:
        notes.append(
            f"{compared} differences: about one interval in twenty leaves out the true one by chance alone"
        )
    notes += [f"custom: {why}" for why in dict.fromkeys(r.why_custom for r in records) if why is not None]
    return tuple(notes)


def _plain(variant: Variant, found: Difference | None) -> dict[str, Any]:
    record = variant.record
    return {
        "part": variant.group,
        "variant": variant.label,
        "fields": dict(variant.fields),
        "failed": variant.failed,
        "run_id": record.run_id if record else None,
        "training_id": record.training.training_id if record and record.training else None,
        "status": record.status if record else "failed",
        "clean": asdict(record.clean) if record else None,
        "columns": {
            column.name: None if column.robust is None else asdict(column.robust)
            for column in (record.columns if record else ())
        },
        "worst_case": asdict(record.worst_case) if record and record.worst_case else None,
        "difference": None if found is None else {"value": found.value, **asdict(found)},
        "training_seconds": record.training.seconds if record and record.training else None,
        "note": variant.note,
    }
