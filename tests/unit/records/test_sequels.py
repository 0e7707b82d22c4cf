"""What columns met and broke, worked out of records that were made before it was noted."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.records.follow_ups import chain, noted
from bench.records.reading import from_json
from bench.records.record import to_json
from bench.records.store import read_record

BOARDS = Path(__file__).parents[3] / "leaderboards" / "records"

PLAIN = {"is": "bench.api:Trial", "knowledge": {"feedback": "logits"}}
SEQUEL = {"is": "bench.evaluate.sequel:Sequel", "knowledge": {"feedback": "logits"}}
TRANSFER = {"is": "bench.api:Trial", "knowledge": {"feedback": "nothing"}}


@pytest.fixture
def old(make_record, make_trial):
    """A record of 500 examples, 490 right when clean, as it was once made: (name, trial, left, mean)."""

    def make(*columns, right=490, n=500):
        trials = [{**trial, "column": name} for name, trial, _, _ in columns]
        told = tuple(
            make_trial(
                name, left, n, met=None, broke=None, queries_mean=mean, queries_median=0.0,
                attack_success_rate=round(1 - left / right, 6),
            )
            for name, _, left, mean in columns
        )  # fmt: skip
        clean = make_trial("clean", right, n).robust
        worst = min(left for _, _, left, _ in columns)
        return make_record(
            examples=n, worst=worst, clean=clean, columns=told, spec={"suite": {"trials": trials}}
        )

    return make


def test_a_sequel_met_what_the_column_before_it_left(old):
    """17 are left, 16 of them fall; the last one costs 5,003 queries and stands: 5003 / 490 is 10.210."""
    record = noted(
        old(("apgd_ce", PLAIN, 17, 9.463), ("apgd_t", SEQUEL, 1, 8.2), ("square", SEQUEL, 1, 10.21))
    )
    first, second, last = record.columns
    assert (first.after, first.met, first.broke) == (None, 490, 473)
    assert (first.attack_success_rate, first.queries_mean, first.queries_median) == (0.965306, 9.463, 0.0)
    assert (second.after, second.met, second.broke) == ("apgd_ce", 17, 16)
    assert second.attack_success_rate == round(16 / 17, 6)
    assert second.queries_mean == round(4018 / 17, 3), "4018 / 490 is 8.2"
    assert second.queries_median is None, "of 17 numbers the sum alone is known"
    assert (last.after, last.met, last.broke, last.attack_success_rate) == ("apgd_t", 1, 0, 0.0)
    assert (last.queries_mean, last.queries_median) == (5003.0, 5003.0)
    assert [one.name for one in chain(last, record.columns)] == ["apgd_ce", "apgd_t", "square"]


def test_what_met_nobody_has_no_success_and_no_queries(old):
    _, last = noted(old(("ladder", PLAIN, 0, 2.0), ("probe", SEQUEL, 0, 0.0))).columns
    assert (last.met, last.broke) == (0, 0)
    assert (last.attack_success_rate, last.queries_mean, last.queries_median) == (None, None, None)


def test_a_sum_that_rounding_hides_is_not_guessed(old):
    """Of 2,000 right when clean, a mean of 0.5 to three decimals is a sum of 999, 1,000 or 1,001."""
    shown = noted(old(("a", PLAIN, 90, 1.0), ("b", SEQUEL, 80, 0.5), right=2000, n=2000)).columns[1]
    assert (shown.met, shown.broke, shown.queries_mean) == (90, 10, None)


def test_a_sequel_goes_on_from_what_was_computed(old, make_trial):
    record = old(("a", PLAIN, 90, 1.0), ("b", SEQUEL, 90, 0.0), ("c", SEQUEL, 70, 4.0))
    skipped = make_trial("b", robust=None, met=None, broke=None, skipped="nobody is at home")
    columns = (record.columns[0], skipped, record.columns[2])
    _, between, last = noted(dataclasses.replace(record, columns=columns)).columns
    assert between == skipped and (last.after, last.met, last.broke) == ("a", 90, 20)


def test_who_is_answered_nothing_asked_nothing(old):
    (column,) = noted(old(("transfer_pgd", TRANSFER, 300, 100.0))).columns
    assert (column.met, column.queries_mean, column.queries_median) == (490, None, None)
    assert column.forwards == 21.5, "passes through a network of its own are passes all the same"


def test_what_is_noted_is_left_alone(old, genuine):
    record = noted(old(("a", PLAIN, 90, 1.0), ("b", SEQUEL, 80, 2.0)))
    assert noted(record) is record and from_json(to_json(genuine())) == genuine()


def test_what_follows_from_older_figures_is_what_outcomes_say(old):
    """The old figures, from what each column spent on each example, and the true ones."""
    draw = np.random.default_rng(0)
    columns, standing, truth = [], np.arange(500) < 490, []
    for place, rate in enumerate((0.6, 0.3, 0.9, 0.0)):
        attacked = standing.copy()
        spent = np.where(attacked, draw.integers(1, 700, 500), 0)
        fell = attacked & (draw.random(500) < rate)
        standing = attacked & ~fell
        columns.append(
            (f"c{place}", SEQUEL if place else PLAIN, int(standing.sum()), round(spent.sum() / 490, 3))
        )
        truth.append(
            (
                attacked.sum(),
                fell.sum(),
                round(fell.sum() / attacked.sum(), 6),
                round(spent[attacked].mean(), 3),
            )
        )
    for column, wanted in zip(noted(old(*columns)).columns, truth, strict=True):
        assert (column.met, column.broke, column.attack_success_rate, column.queries_mean) == wanted


PUBLISHED = sorted(BOARDS.glob("*.json"))


def test_published_figures_are_of_what_columns_met():
    """All of them; three by hand, from the figures in the files."""
    held = {path.stem: read_record(path) for path in PUBLISHED}
    square = held["948bda4906b7"].columns[3]
    assert (square.met, square.broke, square.queries_mean) == (1, 0, 5003.0)
    siege = held["0189261dbb2c"].columns[2]
    assert (siege.met, siege.broke, siege.queries_mean) == (364, 8, round(405_818 / 364, 3))
    assert held["33d9219e1648"].columns[1].attack_success_rate is None, "the ladder had left nothing"
    for path in PUBLISHED:
        before = {column["name"]: column for column in json.loads(path.read_text())["columns"]}
        for column in held[path.stem].columns:
            if column.robust is None:
                assert column.met is column.broke is column.after is None
                continue
            assert 0 <= column.broke <= column.met <= held[path.stem].clean.count
            assert (column.attack_success_rate is None) == (column.met == 0)
            assert column.queries_median != 0 or column.after is None
            if column.after is None:
                assert column.attack_success_rate == before[column.name]["attack_success_rate"]
        record = held[path.stem]
        sequels = [column for column in record.columns if column.after is not None]
        if all(column.after.split(", ")[-1] == name for column, name in _with_the_one_before(record)):
            broke = sum(column.broke for column in sequels)
            assert not sequels or (
                record.columns[0].broke + broke == record.clean.count - record.worst_case.count
            )
        else:  # several set out from what the same columns left: their prey may overlap
            (met,) = {column.met for column in sequels}
            fell = met - record.worst_case.count
            assert max(column.broke for column in sequels) <= fell <= sum(column.broke for column in sequels)


def _with_the_one_before(record):
    return [(column, before.name) for before, column in pairwise(record.columns) if column.after is not None]
