"""Bitmaps of examples: what was put in comes out, and nothing else is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.bitmap import packed, unpacked


@given(st.lists(st.booleans(), max_size=70))
def test_what_is_packed_is_unpacked(held: list[bool]) -> None:
    text = packed(np.array(held, dtype=bool))
    assert len(text) == -(-len(held) // 4)
    assert unpacked(text, len(held)).tolist() == held
    as_number = int("".join("01"[bit] for bit in held).ljust(4 * len(text), "0") or "0", 2)
    assert int(text or "0", 16) == as_number


@pytest.mark.parametrize(("text", "n"), [("8", 5), ("888", 5), ("8g", 5), ("8F", 5), ("87", 5), ("", 1)])
def test_what_no_bitmap_is_is_refused(text: str, n: int) -> None:
    with pytest.raises(ValueError):
        unpacked(text, n)
