from __future__ import annotations

import io
from collections.abc import Callable

import pandas as pd

from bench.records.record import Column, Finding, Record
from bench.report.render import csv, terminal
from bench.report.table import run_table

Maker = Callable[..., Record]


def test_rows_are_clean_then_trials_then_worst_case(make_record: Maker) -> None:
    frame = pd.read_csv(io.StringIO(csv(run_table(make_record()))))
    assert list(frame["column"]) == ["clean", "fgsm", "pgd_20", "worst case"]
    assert list(frame["robust_accuracy"]) == [0.8, 0.501, 0.451, 0.451]
    assert frame["forwards"].tolist()[1:3] == [21.5, 21.5]
    assert set(frame["eps"]) == {"8/255"} and set(frame["n"]) == {1000}


def test_people_read_percent_with_its_interval(make_record: Maker) -> None:
    text = terminal(run_table(make_record()), 160)
    # Wilson, 451 of 1000: 42.04 to 48.20
    assert "45.1 [42.0, 48.2]" in text
    assert "43.8" in text
    for fact in (
        "cifar10, 1000 examples",
        "Linf 8/255",
        "preact_resnet18",
        "best epoch 28 of 30",
        "0123456789ab",
    ):
        assert fact in text


def test_what_went_wrong_is_told_beside_and_below(
    make_record: Maker, make_trial: Callable[..., Column]
) -> None:
    columns = (
        make_trial("a", robust=None, error="ValueError: no"),
        make_trial("b", robust=None, skipped="no adaptive loss"),
        make_trial("c", 451, moved=3, lost=2, invalid=1),
    )
    finding = Finding("lost-successes", "warn", "c lost 2")
    made = make_record(
        columns=columns, findings=(finding,), custom=True, reconstruction="weights", status="failed"
    )
    frame = pd.read_csv(io.StringIO(csv(run_table(made))))
    notes = dict(zip(frame["column"], frame["note"], strict=True))
    assert notes["a"] == "failed: ValueError: no"
    assert notes["b"] == "skipped: no adaptive loss"
    assert notes["c"] == "3 moved; 2 lost; 1 invalid"
    assert notes["worst case"] == "without a, b"
    text = terminal(run_table(made), 160)
    for said in ("(failed)", "(custom)", "warn: lost-successes: c lost 2", "a reconstruction: weights"):
        assert said in text


def test_nothing_trained_and_nothing_measured(make_record: Maker) -> None:
    table = run_table(make_record(training=None, worst_case=None, columns=()))
    assert "nothing was trained" in terminal(table, 100)
    assert len(table.rows) == 2
