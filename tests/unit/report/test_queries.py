"""Queries to success as a curve: outcomes made by hand, whose curve can be counted on fingers."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from bench.core.outcomes import NEVER, Outcomes
from bench.errors import BadValue
from bench.figures.draw import draw
from bench.figures.kinds import KINDS
from bench.figures.read import Drawable
from bench.report import paper
from bench.report.queries import RunOutcomes, queries, survival


def outcomes(first, forwards, correct=None):
    """Examples that were broken after so many queries, of so many spent; NEVER: they were not."""
    first, forwards = np.array(first), np.array(forwards)
    n = len(first)
    correct = np.ones(n, dtype=bool) if correct is None else np.array(correct)
    nothing = np.zeros(n, dtype=bool)
    return Outcomes(
        ids=np.arange(n),
        labels=np.zeros(n, dtype=np.int64),
        clean=np.where(correct, 0, 1),
        attacked=np.where(correct & (first == NEVER), 0, 1),
        distance=np.zeros(n),
        forwards=forwards,
        backwards=np.zeros(n, dtype=np.int64),
        first_success=first,
        moved=nothing,
        lost=nothing,
        invalid=nothing,
    )


SIX = outcomes(
    [NEVER, 1, 3, 3, NEVER, NEVER],
    [0, 1, 3, 3, 10, 7],
    correct=[False, True, True, True, True, True],
)
"""Wrong when clean; broken by 1, 3 and 3 queries; never, at the limit of 10; never, given up after 7."""


@pytest.mark.parametrize(
    ("given", "steps", "left"),
    [
        (SIX, [0, 1, 3, 10], [5, 4, 2, 2]),
        (outcomes([NEVER] * 3, [10] * 3), [0, 10], [3, 3]),  # failures are no successes at the limit
        (outcomes([10, NEVER], [10, 10]), [0, 10], [2, 1]),  # a success at the limit is one
        (outcomes([0, 2], [0, 2]), [0, 2], [1, 0]),  # found without asking: a lucky return
        (outcomes([2, 4], [2, 4]), [0, 2, 4], [2, 1, 0]),
        (outcomes([NEVER, NEVER], [0, 0], correct=[False, False]), [0], [0]),
        (outcomes([NEVER, 5], [0, 5], correct=[True, False]), [0], [1]),  # wrong when clean: never attacked
    ],
)
def test_the_curve_of_known_outcomes(given, steps, left):
    curve = survival(given)
    assert (curve.queries.tolist(), curve.robust.tolist(), curve.n) == (steps, left, len(given))


def test_between_clean_and_robust_accuracy_the_curve_counts_who_stands():
    generator = np.random.default_rng(0)
    first = generator.integers(1, 60, 500)
    first[first > 40] = NEVER
    given = outcomes(first, np.where(first == NEVER, 40, first), correct=generator.random(500) < 0.8)
    curve = survival(given)
    assert curve.robust[0] == given.correct.sum() and curve.robust[-1] == given.robust.sum()
    assert (
        curve.queries[-1] == 40 and (np.diff(curve.queries) > 0).all() and (np.diff(curve.robust) <= 0).all()
    )
    for spent in range(41):  # by its definition, example by example
        stands = sum(
            bool(right) and not (NEVER < when <= spent)
            for right, when in zip(given.correct, first, strict=True)
        )
        assert curve.robust[curve.queries <= spent][-1] == stands


def test_no_examples_have_no_curve():
    with pytest.raises(ValueError, match="no examples"):
        survival(outcomes([], []))


@pytest.fixture
def run(make_record, make_trial):
    """A run with a white-box column and two that ask."""

    def make(**changes):
        columns = (
            make_trial("pgd_20"),
            make_trial("square", knowledge="black-box, logits"),
            make_trial("rays", knowledge="black-box, labels"),
        )
        record = dataclasses.replace(make_record(), **{"columns": columns, "examples": 6, **changes})
        second = outcomes([NEVER, NEVER, 2, 4, 8, NEVER], [0, 9, 2, 4, 8, 9], SIX.correct)
        return RunOutcomes(record, {"pgd_20": SIX, "square": SIX, "rays": second})

    return make


def lines(drawing):
    """What is drawn: label -> (x, y) of every step."""
    (axes,) = drawing.figure.axes
    return {
        line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_a_line_for_each_column_that_asks_and_for_every_one_on_request(run):
    with paper.paper():
        drawn = lines(queries([run()]))
        assert list(drawn) == ["square", "rays"]
        assert drawn["square"] == ([0, 1, 3, 10], pytest.approx([500 / 6, 400 / 6, 200 / 6, 200 / 6]))
        assert list(lines(queries([run()], every_column=True))) == ["pgd_20", "square", "rays"]
        (axes,) = queries([run()]).figure.axes
        assert {line.get_drawstyle() for line in axes.lines if len(line.get_xdata()) > 1} == {"steps-post"}


def test_several_runs_are_told_apart_by_what_differs(run):
    other = {"defense": "standard", "run_id": "b" * 12}
    with paper.paper():
        drawing = queries([run(), run(**other)])
        names = ("pgd_at: square", "pgd_at: rays", "standard: square", "standard: rays")
        assert tuple(lines(drawing)) == names
        alone = run()
        only = dataclasses.replace(alone, outcomes={"square": SIX})
        more = run(run_id="c" * 12, seed=1)
        second = dataclasses.replace(more, outcomes={"square": SIX})
        assert list(lines(queries([only, second]))) == ["pgd_at, seed 0", "pgd_at, seed 1"]
    assert drawing.name == "queries" and queries([alone]).name == "queries-0123456789ab"


def test_numbers_beside_the_picture_are_the_curve(run, tmp_path):
    picture, numbers, caption = draw([Drawable("queries", KINDS["queries"].of[0], (run(),))], tmp_path, "png")
    assert "of pgd_at under square, rays" in caption.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG") and numbers == picture.with_suffix(".csv")
    with numbers.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["column"] == "square"]
    assert [(int(row["queries"]), int(row["robust"]), row["n"]) for row in rows] == [
        (0, 5, "6"),
        (1, 4, "6"),
        (3, 2, "6"),
        (10, 2, "6"),
    ]
    assert [row["robust_accuracy"] for row in rows] == ["0.833333", "0.666667", "0.333333", "0.333333"]
    assert {row["knowledge"] for row in rows} == {"black-box, logits"}


@pytest.mark.parametrize("change", [{"eps": "0.2"}, {"data_digest": "e" * 12}, {"norm": "L2"}])
def test_what_is_not_alike_is_not_compared(run, change):
    with pytest.raises(BadValue, match="cannot be compared: run 0123456789ab is of cifar10, Linf 8/255"):
        queries([run(), run(run_id="b" * 12, **change)])


def test_a_run_that_asks_nothing_says_what_there_is(run):
    bare = dataclasses.replace(run(), outcomes={"pgd_20": SIX})
    with pytest.raises(BadValue, match=r"scores or labels alone.*every column \(pgd_20\)"):
        queries([bare])
    with pytest.raises(BadValue, match="8 runs are more than one figure can show, expected at most 7"):
        queries([run(run_id=f"{place:012d}") for place in range(8)])
