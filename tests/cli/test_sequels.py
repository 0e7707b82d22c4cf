"""Suites whose columns go on from each other, on the command line: shown, run, resumed, gated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.cli.main import main

LINEAR = Path(__file__).parents[1] / "reference" / "linear_defense.py"


@pytest.fixture
def bench(capsys, tmp_path):
    def call(*words):
        with pytest.raises(SystemExit) as left:
            main([*words, *(() if words[0] == "show" else ("--store", str(tmp_path / "runs")))])
        told = capsys.readouterr()
        return left.value.code, told.out, told.err

    return call


RUN = ("run", "--defense", f"{LINEAR}:Linear", "--data", "synthetic", "--examples", "60", "--suite", "fast")


def test_show_says_what_a_sequel_begins_with(bench):
    _, out, _ = bench("show", "suite", "fast")
    assert "what the column before it left, if probe broke anything" in out
    _, out, _ = bench("show", "suite", "autoattack")
    assert out.count("what the column before it left") == 3 and "if " not in out.split("apgd_t")[-1]


def test_a_silent_probe_ends_the_cascade_and_says_what_that_is_worth(bench):
    """On a linear network gradients lead straight to the optimum: nothing is left to find."""
    code, out, _ = bench(*RUN, "--json", "--eps", "0.01")
    record = json.loads(out)
    columns = {column["name"]: column for column in record["columns"]}
    assert code == 0 and record["status"] == "complete" and not record["custom"]
    assert columns["ladder"]["robust"] == columns["probe"]["robust"], "or the test is about another network"
    said = re.fullmatch(
        r"probe broke none of (\d+) examples with (\d+) queries each: with 95 % confidence it would break at "
        r"most ([\d.]+) % of such",
        columns["siege"]["skipped"],
    )
    assert said is not None
    probed = columns["probe"]["robust"]["count"]
    assert int(said[1]) == probed and int(said[2]) == 3 * 11 + 200
    # Clopper and Pearson's bound for no success in that many trials
    assert float(said[3]) == pytest.approx(100 * (1 - 0.05 ** (1 / probed)), abs=0.05)
    assert not any(finding["code"] == "gradients-mislead" for finding in record["findings"])


def test_columns_of_a_sequel_never_rise(bench):
    settings = ("--set", "attack.probe.queries=20", "--eps", "0.1")
    code, out, _ = bench(*RUN, "--json", *settings)
    record = json.loads(out)
    shares = [column["robust"]["count"] for column in record["columns"] if column["robust"]]
    assert code == 0 and shares == sorted(shares, reverse=True)
    assert record["worst_case"]["count"] == shares[-1] and record["custom"]
    assert bench(*RUN, "--json", *settings)[1] == out, "a complete run answers from its record"
