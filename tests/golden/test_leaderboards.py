"""The published boards are what their records give, byte by byte, and only sound records are published."""

from pathlib import Path

import pytest

from bench.publish import differing, freshness
from bench.records.store import read_record

BOARDS = Path(__file__).parents[2] / "leaderboards"
RECORDS = sorted((BOARDS / "records").glob("*.json"))


def test_every_board_is_rebuilt_from_its_records():
    assert RECORDS, "there is something to rebuild"
    assert differing(BOARDS) == []


def test_the_page_says_how_many_records_are_of_the_code_of_now():
    page = (BOARDS.parent / "docs" / "boards.md").read_text(encoding="utf-8")
    assert f"`{freshness(BOARDS)}`" in page


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_published_record_is_complete_clean_and_no_custom_run(path):
    record = read_record(path)
    assert record.run_id == path.stem
    assert record.status == "complete" and not record.custom and record.provenance.dirty is False
    assert all(column.error is None for column in record.columns)
    lowest = min(column.robust.count for column in record.columns if column.robust is not None)
    assert record.worst_case.count <= lowest <= record.clean.count
