"""Tables and boards, byte by byte; `pytest tests/golden --update-golden` writes them anew."""

from __future__ import annotations

from collections.abc import Callable

from bench.records.record import Record
from bench.report.board import board, board_files
from bench.report.render import csv, markdown, terminal
from bench.report.table import run_table

Compare = Callable[[str, str], None]


def test_boards(sample: list[Record], golden: Compare) -> None:
    files = board_files(sample)
    golden("board.md", files["cifar10-linf-8_255.md"])
    golden("board.csv", files["cifar10-linf-8_255.csv"])
    golden("board.txt", terminal(board(sample), 160))


def test_run_tables(sample: list[Record], golden: Compare) -> None:
    table = run_table(sample[-1])
    golden("run.md", markdown(table))
    golden("run.csv", csv(table))
    golden("run.txt", terminal(table, 120))
    golden("run_narrow.txt", terminal(table, 80))
