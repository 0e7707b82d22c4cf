from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bench.core.outcomes import Outcomes
from bench.core.paired import paired_difference
from bench.records.record import Column, Finding, Record
from bench.report.ablation import Variant, ablation_json, ablation_table, difference
from bench.report.render import csv, markdown, terminal

Maker = Callable[..., Record]


def outcomes(broken: list[int], n: int = 50, first: int = 0) -> Outcomes:
    """An attack that breaks these of n examples of class 0; all are right when clean."""
    zeros = np.zeros(n, np.int64)
    attacked = zeros.copy()
    attacked[broken] = 1
    none = np.zeros(n, bool)
    ids = np.arange(first, first + n)
    return Outcomes(ids, zeros, zeros, attacked, zeros * 0.0, zeros, zeros, zeros - 1, none, none, none)


FULL = {"fgsm": outcomes([1, 2]), "pgd_20": outcomes([2, 3])}  # holds all but 1, 2, 3
OTHER = {"fgsm": outcomes([4, 5, 6]), "pgd_20": outcomes([2, 4])}  # all but 2, 4, 5, 6


def variants(make_record: Maker) -> list[Variant]:
    return [
        Variant(
            "full method", record=make_record(run_id="a", worst=940, reconstruction="guessed"), outcomes=FULL
        ),
        Variant("no x", "parts", {"x": "false"}, make_record(run_id="b", worst=920), OTHER),
        Variant("no y", "parts", {"y": "0", "x": "false"}, failed="it diverged"),
    ]


def test_the_difference_is_of_worst_cases_example_by_example(make_record: Maker) -> None:
    full, other, failed = variants(make_record)
    found = difference(other, full)
    assert found is not None and (found.won, found.lost, found.n) == (2, 3, 50)
    held, theirs = np.ones(50, bool), np.ones(50, bool)
    held[[2, 4, 5, 6]] = theirs[[1, 2, 3]] = False
    assert found == paired_difference(held, theirs)
    assert difference(full, full) is None and difference(failed, full) is None
    assert difference(other, failed) is None


def test_other_examples_are_no_pairs(make_record: Maker) -> None:
    full, other, _ = variants(make_record)
    moved = Variant("moved", record=other.record, outcomes={"fgsm": outcomes([1], first=1)})
    with pytest.raises(ValueError, match="different examples"):
        difference(moved, full)


def test_the_table_says_what_differs_and_why_a_row_is_empty(make_record: Maker) -> None:
    table = ablation_table("m", "whitebox@1", variants(make_record))
    frame = pd.read_csv(io.StringIO(csv(table)))
    assert list(frame.changed)[1:] == ["x=false", "y=0,x=false"]
    assert list(frame.won)[1] == 2 and list(frame.lost)[1] == 3
    assert frame.difference[1] == -0.02
    assert frame.loc[2, ["run", "clean", "worst_case", "difference", "training_seconds"]].isna().all()
    assert frame.note[2] == "failed: it diverged"
    assert list(frame.pgd_20)[:2] == [0.94, 0.92]
    text = terminal(table, 160)
    assert "-2.0 [" in text and "a reconstruction: guessed" in text
    assert "1 differences" not in text, "one comparison needs no warning"
    assert "-2.0 [" in markdown(table)


def test_many_comparisons_are_warned_of(make_record: Maker) -> None:
    full, other, _ = variants(make_record)
    notes = ablation_table("m", "whitebox@1", [full, other, other]).notes
    assert any(note.startswith("2 differences: about one interval in twenty") for note in notes)


def test_findings_and_columns_that_are_missing_are_told(
    make_record: Maker, make_trial: Callable[..., Column]
) -> None:
    columns = (
        make_trial("a", robust=None, error="ValueError: no"),
        make_trial("b", robust=None, skipped="no adaptive loss"),
    )
    finding = Finding("lost-successes", "warn", "c lost 2")
    record = make_record(
        columns=columns,
        worst_case=None,
        findings=(finding,),
        status="failed",
        custom=True,
        differs=("a surrogate was chosen",),
    )
    variant = Variant("full method", record=record)
    assert variant.note == "a failed: ValueError: no; without b; lost-successes"
    assert "custom: a surrogate was chosen" in terminal(ablation_table("m", "whitebox@1", [variant]), 100)


def test_nothing_could_be_trained() -> None:
    broken = [
        Variant("full method", failed="it diverged"),
        Variant("no x", "parts", {"x": "0"}, failed="so did it"),
    ]
    table = ablation_table("m", "whitebox@1", broken)
    assert "failed: so did it" in terminal(table, 120) and not table.facts and not table.notes
    rows = json.loads(ablation_json("m", "whitebox@1", broken))["rows"]
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert rows[1]["columns"] == {} and rows[1]["clean"] is None


def test_json_holds_the_intervals(make_record: Maker) -> None:
    rows = json.loads(ablation_json("m", "whitebox@1", variants(make_record)))["rows"]
    found = difference(*reversed(variants(make_record)[:2]))
    assert found is not None
    assert rows[1]["difference"] == {
        "value": -0.02,
        "won": 2,
        "lost": 3,
        "n": 50,
        "low": found.low,
        "high": found.high,
    }
    assert rows[1]["worst_case"]["value"] == 0.92 and rows[1]["columns"]["pgd_20"]["count"] == 920
