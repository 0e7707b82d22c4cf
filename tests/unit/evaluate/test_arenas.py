"""Whoever makes an arena in the harness says on which images its numerics are decided."""

from __future__ import annotations

import ast
from pathlib import Path

import bench


def arenas() -> list[tuple[str, ast.Call]]:
    root = Path(bench.__file__).parent
    return [
        (f"{path.relative_to(root)}:{node.lineno}", node)
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Arena"
    ]


def test_every_arena_is_given_its_images():
    made = arenas()
    assert len(made) >= 5
    assert [place for place, call in made if "images" not in {word.arg for word in call.keywords}] == []
