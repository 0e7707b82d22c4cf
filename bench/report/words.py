"""The glossary, docs/words.md: one word for one thing, made from the first sentence of each class.

`python -m bench.report.words > docs/words.md` writes it; nothing is imported, sources are read.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bench

ROOMS = {
    "api.py": "The contract",
    "core": "Values that everything shares",
    "records": "What is kept",
    "data": "Data",
    "train": "Training",
    "attacks": "Attacks",
    "evaluate": "The engine",
    "suites": "Suites",
    "plan.py": "Plans",
    "runner": "Runs",
    "sweep": "Sweeps",
    "studies": "Studies",
    "audit": "The audit",
    "report": "Tables and figures",
    "figures": "Tables and figures",
    "site": "Tables and figures",
    "interface": "From Python",
}
"""Where classes lie -> under which heading they stand; in this order."""

PLUG_INS = ("attacks", "suites")
"""Rooms whose frozen dataclasses with fields of their own are plug-ins, which `bench list` explains."""

HEAD = """# Words

One word for one thing, in code, documents and sentences. Each line is the first sentence of a class; this
page is made from them (`python -m bench.report.words`), and a test holds it to them. Plug-ins are not here:
`bench list` explains them.
"""


@dataclass(frozen=True)
class Word:
    """One class and what it is."""

    name: str
    meaning: str  # the first sentence of its docstring
    module: str  # below bench/
    room: str


def words(package: Path | None = None) -> list[Word]:
    """Every public top-level class of `bench`, by room and name, without plug-ins."""
    root = package or Path(bench.__file__).parent
    found = [word for path in sorted(root.rglob("*.py")) for word in _in(path, root)]
    order = list(ROOMS.values())
    return sorted(found, key=lambda word: (order.index(word.room), word.name.lower()))


def page() -> str:
    """The glossary as markdown."""
    parts, room = [HEAD], ""
    for word in words():
        if word.room != room:
            room = word.room
            parts.append(f"\n## {room}\n\n| word | is | in |\n| --- | --- | --- |\n")
        parts.append(f"| {word.name} | {word.meaning} | `{word.module}` |\n")
    return "".join(parts)


def _in(path: Path, root: Path) -> Iterator[Word]:
    module = path.relative_to(root)
    room = ROOMS.get(module.parts[0])
    if room is None:
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not _is_plug_in(node, module):
            text = ast.get_docstring(node) or ""
            sentence = re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0].rstrip(".")
            yield Word(node.name, sentence.replace("|", "\\|"), module.as_posix(), room)


def _is_plug_in(node: ast.ClassDef, module: Path) -> bool:
    return module.parts[0] in PLUG_INS and any(
        isinstance(part, ast.FunctionDef) and part.name == "__call__" for part in node.body
    )


if __name__ == "__main__":
    sys.stdout.write(page())
