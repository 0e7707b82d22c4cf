"""One damage of every kind of file in a store; `make torture` does everything to every file."""

from __future__ import annotations

import sys

import pytest
from harness.damage import FLIPS, flipped

linux = pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc and forks")


@linux
@pytest.mark.slow
def test_damage_is_seen_or_harmless(torture):
    """No reader ends in a traceback, no number changes, and `bench fsck --repair` mends what it sees."""
    done = torture("--damage", "--short")
    assert len(done) >= 12 and any(found["seen"] for found in done)
    wrong = [f"{found['operation']}: {found['faults']}" for found in done if found["faults"]]
    assert not wrong, "\n".join(wrong)


def test_a_flip_turns_one_bit():
    data = bytes(range(200))
    for number in range(FLIPS):
        changed = [a ^ b for a, b in zip(data, flipped(data, number), strict=True) if a != b]
        assert len(changed) == 1 and changed[0].bit_count() == 1
