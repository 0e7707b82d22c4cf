"""What commands say besides their figures: what is not there, what was left out, and that all is well."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BOARDS = Path(__file__).parents[2] / "leaderboards"


def test_a_file_that_is_not_there_is_no_data_set(bench, tmp_path):
    told = bench("show", "data", f"npz:{tmp_path}/nope.npz")
    assert told.code == 2 and "there is nothing at" in told.err and told.out == ""
    np.savez(tmp_path / "two.npz", x_test=np.zeros((2, 4, 4)), y_test=np.array([0, 1]))
    shown = bench("show", "data", f"npz:{tmp_path}/two.npz")
    assert shown.code == 0 and "content:" in shown.out


def test_a_folder_says_what_is_not_compared(bench):
    told = bench("compare", BOARDS, "--data", "mnist", "--eps", "0.15", "--suite", "whitebox")
    assert told.code == 0
    (line,) = [line for line in told.err.splitlines() if "left out are" in line]
    assert "4 of 211 records are taken" in line and "32 of mnist, Linf 0.3, 500 examples, fast@1" in line


def test_boards_that_follow_from_their_records_are_well(bench):
    told = bench("board", "--verify", BOARDS)
    assert told.code == 0 and "all is well: every board follows from its records" in told.out


def test_help_of_figures_fits_80_columns(bench):
    told = bench("plot", "--help")
    kinds = told.out.partition("Kinds, and")[2].partition("Start with")[0].splitlines()
    assert len(kinds) > 15 and max(map(len, kinds)) <= 80
