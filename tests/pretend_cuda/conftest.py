"""The pretend device is in a package of the tests' own, and there are two cards of it in every test here.

What these tests share with those of a real card is in `cards`, beside the latter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
sys.path.insert(0, str(Path(__file__).parent))

from pretend.device import WAITS, pretend

collect_ignore = ["command.py", "pretend"]  # to import them for their doctests would pretend for ever


@pytest.fixture(autouse=True)
def cards() -> Iterator[None]:
    """This machine has two CUDA devices, and nobody has waited for one yet."""
    with pretend(cards=2):
        WAITS.clear()
        yield
