"""One training under several suites: what holds against all of them, example by example, and what it cost."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from bench.core.bitmap import packed
from bench.core.metrics import proportion
from bench.errors import BadData, BadValue
from bench.interface.result import Result, SuiteResults
from bench.records.reading import from_json
from bench.records.record import Finding, Verdicts, to_json
from bench.records.seal import check
from bench.report.junit import junit_of_suites
from bench.report.render import terminal
from bench.report.suites import over_suites, suites_json, suites_table
from bench.report.table import run_table

N = 400
CLEAN = [True] * 320 + [False] * 80


def held(*broken):
    """What is left of the examples that are right when clean, where these twenties of them are broken."""
    return np.array([right and place // 20 not in broken for place, right in enumerate(CLEAN)])


@pytest.fixture
def under(make_record, make_trial, as_made):
    """A record under a suite that broke these twenties of examples, by one column."""

    def call(suite, *broken, ids="0" * 12, level="white-box", **changes):
        left = held(*broken)
        count = int(left.sum())
        column = make_trial(f"of_{suite}", count, N, level=level, knowledge=level, forwards=100.5)
        made = make_record(
            suite=f"{suite}@1",
            examples=N,
            worst=count,
            columns=(column,),
            robust_examples=Verdicts(ids, packed(np.array(CLEAN)), packed(left)),
            **{"reconstruction": None, **changes},
        )
        return as_made(made)

    return call


@pytest.fixture
def three(under):
    """Three suites that break 4, 3 and 2 twenties of examples, 7 of them together."""
    return [
        under("whitebox", 0, 1, 2, 3),
        under("graybox", 2, 3, 4, level="gray-box"),
        under("blackbox", 5, 6, level="black-box"),
    ]


def test_an_example_holds_where_it_holds_against_all(three):
    row = over_suites(three)
    assert [record.worst_case.count for record in three] == [240, 260, 280]
    expected = proportion(held(0, 1, 2, 3, 4, 5, 6))  # scipy's Wilson interval
    assert (row.in_all.count, row.in_all.n) == (180, 400)
    assert (row.in_all.low, row.in_all.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert row.in_all.value < row.lowest == 0.6, "a board ranks by the lowest of the suites' own"
    assert (row.forwards, row.backwards) == (301.5, 60.0)


@pytest.mark.parametrize("broken", [(), tuple(range(16))])
def test_intervals_stay_within_zero_and_one(under, broken):
    found = over_suites([under("whitebox", *broken), under("graybox")]).in_all
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.count == 320 - 20 * len(broken)


def test_the_table_has_a_section_for_each_and_one_row_for_all(three):
    table = suites_table(three)
    assert table.title == "pgd_at under whitebox@1, graybox@1 and blackbox@1"
    names = [column.name for column in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    told = [(row["column"], row["knowledge"]) for row in rows]
    assert told == [
        ("clean", "none"),
        ("of_whitebox", "white-box"),
        ("worst case", "whitebox@1"),
        ("of_graybox", "gray-box"),
        ("worst case", "graybox@1"),
        ("of_blackbox", "black-box"),
        ("worst case", "blackbox@1"),
        ("worst case", "all suites"),
    ]
    assert rows[-1]["robust_accuracy"].count == 180 and rows[-1]["forwards"] == 301.5
    assert [row["robust_accuracy"].count for row in rows if row["knowledge"].endswith("@1")] == [
        240,
        260,
        280,
    ]
    assert dict(table.facts)["runs"] == ", ".join(f"{r.suite} {r.run_id}" for r in three)
    assert any(
        "180 of 400 examples hold against every column of every suite, after 301.5 forwards" in note
        and "no suite alone leaves less than 60.0 [" in note
        for note in table.notes
    )


@pytest.mark.parametrize("width", [80, 120])
def test_no_word_is_broken_and_the_last_row_is_whole(three, width):
    lines = terminal(suites_table(three), width).splitlines()
    assert max(map(len, lines)) <= width
    last = next(line for line in reversed(lines) if line.startswith("worst case"))
    assert last.split()[:5] == ["worst", "case", "all", "suites", "45.0"]


def test_what_is_said_of_all_is_said_once_and_else_whose_it_is(three):
    both, one = Finding("flat", "warn", "everywhere"), Finding("odd", "block", "here alone")
    findings = [(both,), (both, one), (both,)]
    records = [dataclasses.replace(r, findings=f) for r, f in zip(three, findings, strict=True)]
    notes = suites_table(records).notes
    assert notes.count("warn: flat: everywhere") == 1
    assert "graybox@1: block: odd: here alone" in notes


def test_who_sees_less_and_does_better_is_found_over_suites(under):
    notes = suites_table([under("whitebox", 0), under("blackbox", 1, 2, level="black-box")]).notes
    assert notes[0] == (
        "warn: black-box-beats-white-box: of_blackbox leaves 70.0 %, all white-box attacks together 75.0 %"
    )


def test_an_adaptive_attack_of_another_suite_is_owed_no_more(under, make_trial):
    owing = {"traits": ("detector",)}
    first, other = under("whitebox", 0, **owing), under("adaptive", 1, **owing)
    answering = dataclasses.replace(other.columns[0], answers=("detector",))
    answered = dataclasses.replace(other, columns=(answering,))
    assert any("owes an adaptive attack" in note for note in run_table(first).notes)
    assert any("owes an adaptive attack" in note for note in suites_table([first, other]).notes)
    assert not any("owes" in note for note in suites_table([first, answered]).notes)


def test_a_failed_column_leaves_no_worst_case_over_all(under, make_trial, as_made):
    blank = dict.fromkeys(("robust", "attack_success_rate", "forwards", "backwards", "met", "broke"))
    lame = make_trial("apgd_t", error="out of memory", queries_mean=None, queries_median=None, **blank)
    failed = dataclasses.replace(
        under("graybox", 0), status="failed", worst_case=None, robust_examples=None, columns=(lame,)
    )
    records = [under("whitebox", 1), failed]
    assert over_suites(records).in_all is None
    assert suites_table(records).rows[-1][-1] == "graybox@1 failed in apgd_t"
    told = json.loads(suites_json(records))
    assert told["worst_case"] is None and told["why_none"] == "graybox@1 failed in apgd_t"
    assert ET.fromstring(junit_of_suites(records)).find("testsuite[last()]/testcase/error") is not None
    with pytest.raises(BadData, match="graybox@1 failed in apgd_t"):
        _ = SuiteResults(tuple(map(Result, records))).worst_case


def test_a_record_that_does_not_say_what_held_is_told(under):
    old = dataclasses.replace(under("graybox", 0), robust_examples=None)
    told = json.loads(suites_json([under("whitebox", 1), old]))
    assert told["worst_case"] is None
    assert told["why_none"] == "graybox@1 does not say which examples held"


def test_records_of_other_examples_have_no_worst_case_together(under):
    with pytest.raises(BadValue, match="attacked different examples"):
        suites_table([under("whitebox"), under("graybox", ids="1" * 12)])
    with pytest.raises(BadValue, match="cannot be ranked together"):
        suites_table([under("whitebox"), under("graybox", eps="1/10")])


def test_the_document_says_what_it_is_and_holds_every_record_whole(three):
    told = json.loads(suites_json(three))
    check(told, "the document", "")
    assert (told["kind"], told["schema"]) == ("suites", 1)
    assert told["suites"] == ["whitebox@1", "graybox@1", "blackbox@1"]
    assert (told["worst_case"]["count"], told["worst_case"]["n"], told["lowest"]) == (180, 400, 0.6)
    assert [from_json(json.dumps(record)) for record in told["records"]] == three
    assert [record["digest"] for record in told["records"]] == [
        json.loads(to_json(record))["digest"] for record in three
    ]


def test_the_page_names_every_field_of_the_document(three):
    page = (Path(__file__).parents[3] / "docs" / "run.md").read_text(encoding="utf-8")
    rows = page.partition("<!-- suites -->")[2].partition("<!-- /suites -->")[0].splitlines()[3:]
    named = [name for row in rows if row for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(json.loads(suites_json(three)))


def test_the_report_for_forges_has_every_column_and_fails_for_all_of_them(three):
    found = ET.fromstring(junit_of_suites(three, "below 50 %"))
    assert [suite.get("name") for suite in found] == [
        *(f"pgd_at under {suite}@1" for suite in ("whitebox", "graybox", "blackbox")),
        "pgd_at under whitebox@1, graybox@1 and blackbox@1",
    ]
    assert len(list(found.iter("testcase"))) == 3 * 2 + 1
    (failure,) = found.iter("failure")
    assert failure.get("message") == "below 50 %"
    assert not list(ET.fromstring(junit_of_suites(three)).iter("failure"))
