"""Suites whose columns go on from each other, on the command line: shown, run, resumed, gated."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.cli.main import main
from bench.core.outcomes import Outcomes
from bench.registry import SUITES
from bench.runner.run import needless
from bench.runner.summary import ColumnCells

LINEAR = Path(__file__).parents[1] / "reference" / "linear_defense.py"


@pytest.fixture
def bench(capsys, tmp_path):
    def call(*words):
        with pytest.raises(SystemExit) as left:
            main([*words, *(() if words[0] == "show" else ("--store", str(tmp_path / "runs")))])
        told = capsys.readouterr()
        return left.value.code, told.out, told.err

    return call


RUN = ("run", "--defense", f"{LINEAR}:Linear", "--data", "synthetic", "--examples", "60", "--suite", "fast@1")


def test_show_says_what_a_sequel_begins_with(bench):
    _, out, _ = bench("show", "suite", "fast@1")
    assert "what the column before it left, if probe broke anything or met fewer than 50 examples" in out
    _, out, _ = bench("show", "suite", "autoattack")
    assert out.count("what the column before it left") == 3 and "if " not in out.split("apgd_t")[-1]


def test_a_silent_probe_of_few_examples_shuts_no_gate(bench):
    """On a linear network gradients lead straight to the optimum; but eight examples are no evidence."""
    code, out, _ = bench(*RUN, "--json", "--eps", "0.01")
    record = json.loads(out)
    columns = {column["name"]: column for column in record["columns"]}
    assert code == 0 and record["status"] == "complete" and not record["custom"]
    assert columns["ladder"]["robust"] == columns["probe"]["robust"], "or the test is about another network"
    assert 0 < columns["probe"]["robust"]["count"] < 50
    assert columns["siege"]["skipped"] is None and columns["siege"]["robust"] == columns["probe"]["robust"]
    assert not any(finding["code"] == "gradients-mislead" for finding in record["findings"])


def column(n, robust, queries, met=None):
    """n examples of class 0, right when clean, of which the first so many stand after so many queries.

    Those behind the first `met` were broken by the column before.
    """
    zeros, held = np.zeros(n, dtype=np.int64), np.arange(n) < robust
    asked = np.arange(n) < (n if met is None else met)
    return Outcomes(
        ids=np.arange(n),
        labels=zeros,
        clean=zeros,
        attacked=np.where(held, 0, 1),
        distance=np.zeros(n),
        forwards=np.where(held, queries, 1) * asked,
        backwards=zeros,
        first_success=np.where(held | ~asked, -1, 1),
        moved=np.zeros(n, dtype=bool),
        lost=np.zeros(n, dtype=bool),
        invalid=np.zeros(n, dtype=bool),
    )


SIEGE = SUITES.get("fast@1").trials[2]


@pytest.mark.parametrize(
    ("left", "after", "plays"),
    [(60, 60, False), (60, 59, True), (49, 49, True), (50, 50, False), (0, 0, False)],
)
def test_a_gate_shuts_on_evidence_alone_and_states_it(left, after, plays):
    cells = ColumnCells(outcomes={"ladder": column(80, left, 44), "probe": column(80, after, 233, left)})
    said = needless(SIEGE, cells, SUITES.get("fast@1").trials)
    assert (said is None) == plays
    if left and not plays:
        found = re.fullmatch(
            r"probe broke none of (\d+) examples with 233 queries each: with 95 % confidence "
            r"it would break at most ([\d.]+) % of such",
            said,
        )
        assert int(found[1]) == left
        # Clopper and Pearson's bound for no success in that many trials
        assert float(found[2]) == pytest.approx(100 * binomtest(0, left).proportion_ci(0.90).high, abs=0.05)


def spent_by(record, rows, name, standing):
    """(met, broke, success, mean, median) of a column, example by example from the table of examples."""
    held = {int(row["ids"]): row for row in rows if row["column"] == name}
    attacked = [held[number] for number in sorted(standing)]
    fell = {int(row["ids"]) for row in attacked if row["attacked"] not in (row["labels"], "-1")}
    queries = [int(row["first_success"] if int(row["ids"]) in fell else row["forwards"]) for row in attacked]
    told = (len(attacked), len(fell), round(len(fell) / len(attacked), 6), round(np.mean(queries), 3))
    return (*told, np.median(queries)), standing - fell


def test_a_column_that_goes_on_has_its_own_success_and_queries(bench, tmp_path):
    """Counted row by row; what the ladder broke is no success of those who met the rest in vain."""
    record = json.loads(bench(*RUN, "--json", "--eps", "0.01")[1])
    with (tmp_path / "runs" / record["run_id"] / "examples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = rows[: record["examples"]]
    standing = {int(row["ids"]) for row in first if row["clean"] == row["labels"]}
    computed = [column for column in record["columns"] if column["robust"]]
    assert [column["after"] for column in computed] == [None, "ladder", "probe"]
    assert computed[0]["broke"] > 0 == computed[2]["attack_success_rate"] < computed[2]["queries_median"]
    for column in computed:
        wanted, standing = spent_by(record, rows, column["name"], standing)
        figures = ("met", "broke", "attack_success_rate", "queries_mean", "queries_median")
        assert tuple(column[name] for name in figures) == wanted
        assert column["robust"]["count"] == len(standing)


def test_columns_of_a_sequel_never_rise(bench):
    settings = ("--set", "attack.probe.queries=20", "--eps", "0.1")
    code, out, _ = bench(*RUN, "--json", *settings)
    record = json.loads(out)
    shares = [column["robust"]["count"] for column in record["columns"] if column["robust"]]
    assert code == 0 and shares == sorted(shares, reverse=True)
    assert record["worst_case"]["count"] == shares[-1] and record["custom"]
    assert bench(*RUN, "--json", *settings)[1] == out, "a complete run answers from its record"


SCOUTS = ("targets", "restarts", "search")


@pytest.mark.parametrize("enough", [0.005, 1.0])
def test_scouts_go_on_from_the_ladder_each_by_itself_and_leave_no_doubt(bench, monkeypatch, enough):
    """On a linear network gradients lead straight to the optimum: three find nothing more.

    Sixty examples are too few to say that half a point is all that may be missing, so others look, too; they
    need not where more doubt is good enough.
    """
    monkeypatch.setattr("bench.core.doubt.SHARE", enough)
    code, out, _ = bench(*RUN[:-1], "fast", "--json", "--eps", "0.01")
    record = json.loads(out)
    columns = {column["name"]: column for column in record["columns"]}
    left = columns["ladder"]["robust"]["count"]
    assert code == 0 and 0 < left < 60 and not record["custom"]
    for name in SCOUTS:
        told, again = columns[name], columns[f"{name}_2"]
        assert (told["after"], told["met"], told["broke"]) == ("ladder", left, 0)
        if enough < 1:
            assert (again["met"], again["broke"], again["skipped"]) == (left, 0, None)
        else:
            assert re.fullmatch(
                rf"of {left} examples, 0 fell to only one of the 3 attackers before: the same again would "
                r"break at most [\d.]+, with 95 % confidence",
                again["skipped"],
            )
    doubt, bound = record["doubt"], binomtest(0, left).proportion_ci(0.90).high * left
    attackers = 4 if enough < 1 else 3
    stated = {"attackers": attackers, "met": left, "broke": 0, "alone": 0, "at_most": round(bound / 60, 6)}
    assert doubt == stated
    again = bench(*RUN[:-1], "fast", "--eps", "0.01")[1]
    assert f"may be up to {100 * doubt['at_most']:.1f} points too kind" in again


def test_where_scouts_disagree_a_second_sweep_goes_on_from_all_of_them(bench, tmp_path):
    """A gradient that leads nowhere: search breaks what climbers leave, and three look again, harder."""
    words = (
        "run",
        "--defense",
        f"{LINEAR}:Misled",
        "--data",
        "synthetic",
        "--suite",
        "fast@2",
        "--eps",
        "0.008",
    )
    record = json.loads(bench(*words, "--json")[1])
    columns = {column["name"]: column for column in record["columns"]}
    with (tmp_path / "runs" / record["run_id"] / "examples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def fell(name):
        held = [row for row in rows if row["column"] == name]
        return {row["ids"] for row in held if row["clean"] == row["labels"] != row["attacked"]}

    first = fell("targets") | fell("restarts") | fell("search")
    for name in SCOUTS:
        told = columns[f"{name}_2"]
        assert told["after"] == "ladder, targets, restarts, search"
        assert told["met"] == record["clean"]["count"] - len(first)
        assert first <= fell(f"{name}_2")
    assert record["worst_case"]["count"] == record["clean"]["count"] - len(
        first.union(*(fell(f"{name}_2") for name in SCOUTS))
    )
    assert [found["code"] for found in record["findings"]].count("gradients-mislead") >= 1
    assert bench("verify", record["run_id"], "--cells", "4", "--code", str(LINEAR))[0] == 0
