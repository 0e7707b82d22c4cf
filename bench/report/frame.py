"""Records as one tidy pandas frame, for notebooks: a row for each column of each record."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

from bench.records.record import Balanced, Interval, Record
from bench.report.table import CLEAN, WORST, note

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "run": "id of the run",
    "defense": "name, with what was overridden",
    "reconstruction": "what had to be guessed; None where nothing was",
    "traits": "what the defense is made of, joined by commas",
    "suite": "name@version",
    "custom": "whether something differs from what is published: suite, attacks, numerics, surrogate, epoch",
    "data": "name of the data set",
    "architecture": "name of the architecture",
    "norm": "Linf, L2, L1 or L0",
    "eps": "radius in pixel units, as a float",
    "eps_text": "radius as it was typed: 8/255",
    "seed": "of training and attacks",
    "n": "test images",
    "column": "the attack's column; 'clean' and 'worst case' are columns, too",
    "attack": "the attack with every parameter; None for clean and worst case",
    "level": "white-box, gray-box or black-box",
    "knowledge": "the level with what distinguishes it",
    "adaptive": "whether the attack was made against what this defense does",
    "robust_accuracy": "share of all n images, in [0, 1]",
    "robust_accuracy_low": "lower end of its 95 % Wilson interval",
    "robust_accuracy_high": "upper end",
    "balanced_accuracy": "mean of the shares of all classes, of the rows 'clean' and 'worst case'",
    "balanced_accuracy_low": "lower end of its 95 % interval",
    "balanced_accuracy_high": "upper end",
    "after": "the column that it goes on from: its robust accuracy is that of both, all else its own",
    "met": "images that it attacked: right when clean, and left by the columns that it goes on from",
    "broke": "of these",
    "attack_success_rate": "share of the images that it met",
    "forwards": "mean over all n images",
    "backwards": "mean over all n images",
    "queries_mean": "over the images that it met, to the first success, failures at all they spent",
    "queries_median": "the same; of columns that go on from others, older records do not know it",
    "seconds": "of the attack",
    "note": "skipped, failed, moved, lost, invalid",
    "findings": "codes of the record's findings, joined by commas",
    "recipe": "how it was trained",
    "trained_at": "norm and radius of attacks in training: Linf 8/255",
    "training_id": "id of the weights",
    "parameters": "number of trained values",
    "training_seconds": "time to train; None where nothing was, or its parts alone",
    "commit": "of the code",
    "device": "what computed it",
    "threads": "of the processor",
    "version": "of bench",
}
"""Every column of the frame and what it holds."""


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each column of each record, between its clean accuracy and its worst case.

    Absent values are None or NaN; shares are fractions, never percent. Of no record: an empty frame with the
    same columns.
    """
    import pandas as pd

    rows = [row for record in records for row in _rows(record)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(record: Record) -> Iterable[dict[str, object]]:
    trained, made = record.training, record.provenance
    shared: dict[str, object] = {
        "run": record.run_id,
        "defense": record.defense,
        "reconstruction": record.reconstruction,
        "traits": ", ".join(record.traits),
        "suite": record.suite,
        "custom": record.custom,
        "data": record.data,
        "architecture": record.architecture,
        "norm": record.norm,
        "eps": float(Fraction(record.eps)),
        "eps_text": record.eps,
        "seed": record.seed,
        "n": record.examples,
        "findings": ", ".join(sorted({finding.code for finding in record.findings})),
        "recipe": trained.recipe if trained else None,
        "trained_at": record.train_budget.label if record.train_budget else None,
        "training_id": trained.training_id if trained else None,
        "parameters": trained.parameters if trained else None,
        "training_seconds": trained.seconds if trained and trained.epochs else None,
        "commit": made.commit,
        "device": made.device,
        "threads": made.threads,
        "version": made.version,
    }
    classes = record.by_class
    clean = _shares(record.clean) | _balanced(classes.clean if classes else None)
    yield {**shared, "column": CLEAN, "adaptive": False, **clean}
    for column in record.columns:
        yield {
            **shared,
            "column": column.name,
            "attack": column.attack,
            "level": column.level,
            "knowledge": column.knowledge,
            "adaptive": column.adaptive,
            **_shares(column.robust),
            "after": column.after,
            "met": column.met,
            "broke": column.broke,
            "attack_success_rate": column.attack_success_rate,
            "forwards": column.forwards,
            "backwards": column.backwards,
            "queries_mean": column.queries_mean,
            "queries_median": column.queries_median,
            "seconds": column.seconds,
            "note": note(column),
        }
    yield {
        **shared,
        "column": WORST,
        "adaptive": any(column.adaptive for column in record.columns),
        **_shares(record.worst_case),
        **_balanced(classes.robust if classes else None),
    }


def _shares(found: Interval | None) -> dict[str, object]:
    if found is None:
        return {}
    name = "robust_accuracy"
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _balanced(found: Balanced | None) -> dict[str, object]:
    if found is None:
        return {}
    name = "balanced_accuracy"
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
