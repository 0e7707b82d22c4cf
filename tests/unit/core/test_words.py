"""One word for one thing: names of classes are unique, and the glossary is what their docstrings say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bench.report.words import page, words

ROOT = Path(__file__).parents[3]

BY_CONVENTION = {"Measure"}
"""One in each study: what the harness asks `measure.py` for."""


def test_no_two_classes_have_one_name():
    counts = Counter(word.name for word in words())
    assert len(counts) > 150
    assert {name for name, count in counts.items() if count > 1} <= BY_CONVENTION


def test_every_word_is_explained_and_the_page_says_so():
    assert not [word.name for word in words() if len(word.meaning) < 8]
    assert (ROOT / "docs" / "words.md").read_text(encoding="utf-8") == page()
