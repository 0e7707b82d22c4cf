"""Names for code are the same on every Python, so a record made with one is fresh with another."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from bench.core import digest

ROOT = Path(__file__).parents[3]

SOURCE = '''
"""A module."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Point[T]:
    x: float = 1.0

    async def move(self, *by: int, **how: str) -> "Point":
        """Somewhere else."""
        return [f"{self.x!r:>{by[0]}}" for _ in () if not (yield)]
'''.replace("[T]", "")


def test_a_digest_is_the_same_on_every_python() -> None:
    assert digest.digest_with_imports(SOURCE) == "b2f24ebb5c94"  # by Python 3.11's own ast.dump
    assert digest.source_digest(SOURCE) == "b4f40538a0f5"


def test_imports_do_not_count_wherever_they_are() -> None:
    inside = "def f():\n    import os\n    return 1\n\n\ntry:\n    import a\nexcept E:\n    from b import c\n"
    assert digest.source_digest(inside) == digest.source_digest(inside.replace("a\n", "other.place\n"))
    assert digest.source_digest(inside) != digest.source_digest(inside.replace("1", "2"))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="newer Pythons dump otherwise")
@pytest.mark.parametrize("package", ["bench", "defenses"])
def test_it_dumps_as_python_3_11_does(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert digest._dump(tree) == ast.dump(tree), path


def test_type_parameters_count() -> None:
    if sys.version_info < (3, 12):
        pytest.skip("Python 3.11 has none")
    assert digest.source_digest("class A[T]: pass") != digest.source_digest("class A: pass")
