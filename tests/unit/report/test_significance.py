"""Who is best beyond chance: counts set by hand, and what a board of chance alone would print in bold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from bench.core.bitmap import packed
from bench.errors import BadData, BadValue
from bench.records.record import Record, Verdicts
from bench.report.significance import best, best_records, pairs

N = 100


def kept(*ranges: tuple[int, int]) -> np.ndarray:
    """Of a hundred examples, those in these half-open ranges."""
    held = np.zeros(N, dtype=bool)
    for start, stop in ranges:
        held[start:stop] = True
    return held


def test_pairs_by_hand() -> None:
    """Six won and none lost is p = 2 / 2^6; eight and none 2 / 2^8; two and none 1/2."""
    found = {(p.one, p.other): p for p in pairs({"a": kept((0, 50)), "b": kept((0, 44)), "c": kept((0, 42))})}
    assert [found[key].p for key in (("a", "b"), ("a", "c"), ("b", "c"))] == [2 / 64, 2 / 256, 0.5]
    assert [p.adjusted for p in found.values()] == [4 / 64, 6 / 256, 0.5]
    assert [p.significant for p in found.values()] == [False, True, False], "Holm took the first away"


def test_the_best_are_those_not_worse_beyond_chance() -> None:
    rows = {"a": kept((0, 50)), "b": kept((0, 46)), "c": kept((0, 30)), "d": None}
    found = best(rows)
    assert found.rows == {"a", "b"} and found.untested == {"d"} and not found.alone
    assert best({"a": kept((0, 50)), "c": kept((0, 30))}).alone
    assert best({"a": kept((0, 50)), "d": None}).rows == frozenset(), "nobody wins alone on the field"


def test_the_same_shares_differ_or_not_by_how_they_overlap() -> None:
    nested, crossed = kept((0, 40)), kept((10, 50))
    whole = kept((0, 50))
    assert best({"whole": whole, "nested": nested}).alone, "ten lost and none won"
    other = kept((40, 90))
    assert best({"whole": whole, "other": other[::-1].copy()}).rows == {"whole", "other"}
    assert not pairs({"nested": nested, "crossed": crossed})[0].significant


def test_bold_by_chance_is_rare() -> None:
    """Ten networks of the same strength: somebody falls out of the best in one table of twenty at most."""
    rng, fell = np.random.default_rng(0), 0
    for _ in range(100):
        fell += len(best({str(k): rng.random(200) < 0.5 for k in range(5)}).rows) < 5
    assert fell <= 12, "the highest is picked after the fact, which costs a little"


def with_verdicts(record: Record, held: np.ndarray, ids: str = "i" * 12) -> Record:
    assert record.worst_case is not None
    worst = dataclasses.replace(record.worst_case, count=int(held.sum()), n=N)
    verdicts = Verdicts(ids, packed(np.ones(N, bool)), packed(held))
    return dataclasses.replace(record, examples=N, worst_case=worst, robust_examples=verdicts)


def test_records_of_one_ground_alone(make_record: Callable[..., Record]) -> None:
    a = with_verdicts(make_record(run_id="a", worst=50), kept((0, 50)))
    b = with_verdicts(make_record(run_id="b", worst=30), kept((0, 30)))
    assert best_records([a, b]).rows == {"a"}
    old = make_record(run_id="c", worst=30)
    with pytest.raises(BadValue, match=r"records a and c cannot be compared: .*number of examples \(100 and"):
        best_records([a, old])
    elsewhere = with_verdicts(make_record(run_id="d", worst=30), kept((0, 30)), ids="j" * 12)
    with pytest.raises(BadValue, match="the examples"):
        best_records([a, elsewhere])


def test_a_bitmap_that_contradicts_its_record_is_refused(make_record: Callable[..., Record]) -> None:
    a = with_verdicts(make_record(run_id="a", worst=50), kept((0, 50)))
    assert a.robust_examples is not None
    wrong = dataclasses.replace(a.robust_examples, worst_case=packed(kept((0, 51))))
    with pytest.raises(BadData, match="51 examples are marked and 50 counted"):
        best_records([a, dataclasses.replace(a, run_id="b", robust_examples=wrong)])
