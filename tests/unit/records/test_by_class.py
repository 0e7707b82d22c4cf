"""What a record says of each class: counted on fingers, told in tables, and refused where it cannot be."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bench.core.outcomes import NEVER, Outcomes
from bench.errors import BadData, BadValue
from bench.records.by_class import by_class_of
from bench.records.reading import from_json
from bench.records.record import Balanced, ByClass, Interval, OfClass, to_json
from bench.report.board import as_values, board
from bench.report.class_table import class_latex, class_table
from bench.report.render import csv, terminal

# cats: 4 examples, 3 right, 1 robust; dogs: 1 example, right and robust
COLUMN = Outcomes(
    ids=np.arange(5),
    labels=np.array([0, 0, 2, 0, 0]),
    clean=np.array([0, 0, 2, 0, 1]),
    attacked=np.array([1, 0, 2, 1, 1]),
    distance=np.zeros(5),
    forwards=np.ones(5, np.int64),
    backwards=np.zeros(5, np.int64),
    first_success=np.full(5, NEVER),
    moved=np.zeros(5, bool),
    lost=np.zeros(5, bool),
    invalid=np.zeros(5, bool),
)
FOUND = by_class_of(COLUMN, COLUMN.robust, ("cat", "cow", "dog"))


@pytest.fixture
def five(make_record, make_trial, as_made):
    """A record of the five examples."""
    clean, worst = Interval(0.8, 0.375535, 0.963776, 4, 5), Interval(0.4, 0.117621, 0.769276, 2, 5)
    held = {"examples": 5, "clean": clean, "worst_case": worst, "by_class": FOUND}
    return as_made(dataclasses.replace(make_record(), columns=(make_trial(count=2, n=5),), **held))


def test_counts_and_means_by_hand():
    assert FOUND.classes == (OfClass("cat", 4, 3, 1), OfClass("dog", 1, 1, 1))
    assert FOUND.clean.value == (3 / 4 + 1) / 2 and FOUND.robust.value == (1 / 4 + 1) / 2
    assert FOUND.robust.low < FOUND.robust.value < FOUND.robust.high <= 1


def test_without_a_worst_case_there_is_no_robust_share():
    found = by_class_of(COLUMN, None, ("cat", "cow", "dog"))
    assert found.robust is None and [one.robust for one in found.classes] == [None, None]


def test_it_is_written_and_read_and_may_be_lacking(five):
    assert from_json(to_json(five)).by_class == FOUND
    older = json.loads(to_json(five))
    del older["by_class"], older["digest"]
    assert from_json(json.dumps(older)).by_class is None


WRONG = {
    "an example too many": lambda held: held["classes"][0].update(n=5),
    "a class twice as robust": lambda held: held["classes"][0].update(robust=2),
    "more held than there are": lambda held: held["classes"][1].update(clean=2),
    "another mean": lambda held: held["robust"].update(value=0.9),
    "another interval": lambda held: held["clean"].update(low=0.7),
    "no mean": lambda held: held.update(robust=None),
    "a class without a count": lambda held: held["classes"][0].update(robust=None),
    "no class": lambda held: held.update(classes=[]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_contradicts_the_record_is_refused(five, kind):
    told = json.loads(to_json(five))
    WRONG[kind](told["by_class"])
    with pytest.raises(BadData, match=r"contradicts itself: by_class"):
        from_json(json.dumps(told), "it")


def test_the_table_has_a_row_for_each_class_and_the_mean(five):
    rows = [line.split(",")[6:] for line in csv(class_table(five)).splitlines()]
    assert rows[0] == [
        "class",
        "n",
        "clean",
        "clean_low",
        "clean_high",
        "robust",
        "robust_low",
        "robust_high",
    ]
    assert [row[:3] + row[5:6] for row in rows[1:]] == [
        ["cat", "4", "0.75", "0.25"],
        ["dog", "1", "1.0", "1.0"],
        ["all examples", "5", "0.8", "0.4"],
        ["balanced", "", "0.875", "0.625"],
    ]
    assert "least robust: cat, 1 of 4" in terminal(class_table(five))
    assert r"balanced & -- & 87.5" in class_latex(five) and r"cat & 4 & 75.0" in class_latex(five)


def test_an_older_record_says_what_to_type(make_record):
    with pytest.raises(BadValue, match="before classes were counted"):
        class_table(make_record())


def test_boards_have_it_where_it_is_asked_for(make_record):
    classes = (OfClass("a", 500, 400, 51), OfClass("b", 500, 400, 400))
    held = ByClass(classes, Balanced(0.8, 0.77, 0.82), Balanced(0.451, 0.42, 0.48))
    records = [
        make_record(run_id="a" * 12, defense="new", by_class=held),
        make_record(run_id="b" * 12, defense="old"),
    ]
    assert "balanced" not in csv(board(records))
    rows = {row["defense"]: row["balanced"] for row in as_values(records, balanced=True)["rows"]}
    assert rows == {"new": 0.451, "old": None}
    assert rows["new"] == dataclasses.asdict(held)["robust"]["value"]
