"""Success and cost of columns that go on from each other, counted on fingers."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.credit import broken, met
from bench.core.metrics import (
    Reordered,
    attack_success_rate,
    below_chance,
    queries_to_success,
    reordered,
)
from bench.core.outcomes import NEVER, Outcomes
from bench.evaluate.diagnostics import from_order

CORRECT = np.array([False, True, True, True, True, True])


def outcomes(first, forwards, before=CORRECT):
    """Six examples, the first wrong when clean; `before`: what the columns before this one left."""
    first, nothing = np.array(first), np.zeros(6, dtype=bool)
    return Outcomes(
        ids=np.arange(6),
        labels=np.zeros(6, dtype=np.int64),
        clean=np.where(CORRECT, 0, 1),
        attacked=np.where(before & (first == NEVER), 0, 1),
        distance=np.zeros(6),
        forwards=np.array(forwards),
        backwards=np.zeros(6, dtype=np.int64),
        first_success=first,
        moved=nothing,
        lost=nothing,
        invalid=nothing,
    )


LADDER = outcomes([NEVER, 1, 3, 3, NEVER, NEVER], [0, 1, 3, 3, 10, 12])
PROBE = outcomes([NEVER, NEVER, NEVER, NEVER, 4, NEVER], [0, 0, 0, 0, 4, 10], LADDER.robust)
SIEGE = outcomes([NEVER] * 6, [0, 0, 0, 0, 0, 5003], PROBE.robust)
SURE = outcomes([NEVER] * 5 + [0], [0] * 6, SIEGE.robust)  # returned without asking
NOBODY = outcomes([NEVER] * 6, [0] * 6, SURE.robust)


@pytest.mark.parametrize(
    ("column", "attacked", "fell", "rate", "spent"),
    [
        (LADDER, 5, 3, 3 / 5, (29 / 5, 3.0)),
        (PROBE, 2, 1, 1 / 2, (7.0, 7.0)),  # over all that was right when clean: 4/5, and a median of 0
        (SIEGE, 1, 0, 0.0, (5003.0, 5003.0)),
        (SURE, 1, 1, 1.0, (0.0, 0.0)),
        (NOBODY, 0, 0, None, None),
    ],
)
def test_a_column_has_what_it_met_and_broke(column, attacked, fell, rate, spent):
    assert (met(column).sum(), broken(column).sum()) == (attacked, fell)
    assert attack_success_rate(column) == (None if rate is None else pytest.approx(rate))
    assert queries_to_success(column) == spent


def answered(labels, answers):
    """Examples of these classes with these clean answers."""
    nothing = np.zeros(len(labels), dtype=bool)
    zeros = np.zeros(len(labels), dtype=np.int64)
    given = {"labels": np.array(labels), "clean": np.array(answers), "attacked": np.array(answers)}
    flags = {"moved": nothing, "lost": nothing, "invalid": nothing}
    return Outcomes(
        ids=zeros,
        distance=np.zeros(len(labels)),
        forwards=zeros,
        backwards=zeros,
        first_success=zeros,
        **given,
        **flags,
    )


FOUR = np.arange(80) // 2 % 4  # every class among those of even and of odd places alike


def test_answers_in_another_order_are_found_by_half_and_counted_on_the_rest():
    found = reordered(answered(FOUR, (FOUR + 1) % 4))
    assert found == Reordered(n=40, right=0, won=40, lost=0) and found.right_then == 40 and found.is_better


def test_where_half_are_right_nobody_doubts_the_order():
    assert reordered(answered(FOUR, np.array([1, 0, 2, 3])[FOUR])) is None


def test_guesses_have_no_better_order():
    draws = np.random.RandomState(0)
    better = [reordered(answered(FOUR, draws.randint(0, 4, 80))) for _ in range(200)]
    assert not any(found is not None and found.is_better for found in better)


def test_twice_as_many_must_be_right_beyond_luck():
    assert not Reordered(n=40, right=1, won=9, lost=0).is_better  # p = 0.0039
    assert Reordered(n=40, right=1, won=11, lost=0).is_better  # p = 0.00098
    assert not Reordered(n=100, right=30, won=25, lost=0).is_better  # not twice as many


@pytest.mark.parametrize(
    ("right", "n", "classes", "below"),
    [(0, 65, 10, False), (0, 66, 10, True), (2, 100, 10, False), (1, 100, 10, True), (0, 1000, 1000, False)],
)
def test_below_chance_is_the_lower_tail_of_the_binomial(right, n, classes, below):
    """0.9^65 = 0.00106, 0.9^66 = 0.00096; of 100 at most 2: 0.0019, at most 1: 0.0003; 0.999^1000 = 0.37."""
    assert below_chance(right, n, classes) is below


def test_the_finding_names_the_order_and_what_helps():
    told = list(from_order({"clean": answered(FOUR, (FOUR + 1) % 4)}, 4, of_others=True))
    assert [(found.code, found.severity) for found in told] == [("classes-permuted", "warn")]
    assert "0 of 80 clean images are right" in told[0].detail and "--classes FILE" in told[0].detail
    assert "--classes" not in next(iter(from_order({"clean": answered(FOUR, (FOUR + 1) % 4)}, 4))).detail
    assert not list(from_order({"clean": answered(FOUR, FOUR)}, 4))
