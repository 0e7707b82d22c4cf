"""Records as a frame: the numbers of the records' own JSON, read here by json alone."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

import bench
from bench.errors import BadData
from bench.report.frame import COLUMNS, frame

BOARDS = Path(__file__).parents[3] / "leaderboards"


def test_every_number_is_the_record_s():
    paths = sorted((BOARDS / "records").glob("*.json"))[:5]
    found = bench.load_records(*paths).frame()
    assert list(found.columns) == list(COLUMNS)
    for path in paths:
        held = json.loads(path.read_text(encoding="utf-8"))
        rows = found[found["run"] == held["run_id"]].set_index("column")
        assert list(rows.index) == ["clean", *(c["name"] for c in held["columns"]), "worst case"]
        assert rows.loc["clean", "robust_accuracy"] == held["clean"]["value"]
        assert rows.loc["worst case", "robust_accuracy_low"] == held["worst_case"]["low"]
        assert rows["eps"].eq(float(Fraction(held["eps"]))).all() and rows["n"].eq(held["examples"]).all()
        for column in held["columns"]:
            if column["robust"] is not None:
                row = rows.loc[column["name"]]
                assert row["robust_accuracy"] == column["robust"]["value"]
                assert row["forwards"] == column["forwards"] and row["attack"] == column["attack"]


def test_a_folder_of_boards_is_a_place_and_records_count_once():
    whole = bench.load_records(BOARDS, BOARDS / "records").frame()
    assert whole["run"].nunique() == len(list((BOARDS / "records").glob("*.json")))
    lowest = whole[whole["column"] == "worst case"].groupby("data")["robust_accuracy"].min()
    assert lowest["mnist"] == 0  # as the board says of `standard`


def test_no_records_are_an_empty_frame_with_the_same_columns(tmp_path):
    assert list(bench.load_records(tmp_path).frame().columns) == list(COLUMNS) and frame([]).empty


def test_a_place_that_is_not_there_is_one_sentence():
    with pytest.raises(BadData, match="'nowhere' does not exist, expected"):
        bench.load_records("nowhere")


def test_a_frame_needs_no_torch():
    code = "import sys, bench; bench.load_records(sys.argv[1]).frame(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(BOARDS)], check=True, timeout=120)
