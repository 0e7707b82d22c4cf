"""docs/strangers.md is what the tests of this folder are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

HERE = Path(__file__).parent


def test_the_table_of_situations_is_made_from_these_tests():
    spec = importlib.util.spec_from_file_location("situations", HERE / "__main__.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    page = made.page()
    told = (HERE.parent.parent / "docs" / "strangers.md").read_text(encoding="utf-8")
    assert told == page, "python -m tests.strangers > docs/strangers.md"
    heads = ("| situation | what happens |", "| --- | --- |")
    rows = [line for line in page.splitlines() if line.startswith("| ") and line not in heads]
    assert len(rows) >= 60 and len({*rows}) == len(rows), "each says what is given"
    assert not [row for row in rows if re.search(r"[(){}*+]", row)], "words, and no source: give it ids"
