"""The table of situations, docs/strangers.md, made from the tests: `python -m tests.strangers` prints it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent

TITLES = {
    "test_networks.py": "Networks and weights",
    "test_data.py": "Images",
    "test_commands.py": "A loaded network in every command",
    "test_python.py": "From Python",
}

REFUSALS = ("refused", "raises")
GOES = ("record", "run", "bench", "load", "evaluate", "attack")


def page() -> str:
    """The page: a row for each test, and for each of its parameters."""
    lines = [
        "# What strangers have, and what happens",
        "",
        "Each row is a test in `tests/strangers`; `python -m tests.strangers` makes this page of them.",
        "*Evaluated*: there is a number, and it is that of the network. *A sentence*: one line says what is",
        "wrong, what was expected and what to type, exit code 2; *typed, it works* where the test goes on.",
    ]
    found = list(_situations())
    for file in sorted({file for file, _, _ in found}, key=[*TITLES].index):
        happens = _outcomes(HERE / file)
        rows = [(name, given) for place, name, given in found if place == file]
        lines += ["", f"## {TITLES[file]}", "", "| situation | what happens |", "| --- | --- |"]
        lines += [f"| {_told(name, given)} | {happens[name]} |" for name, given in rows]
    return "\n".join(lines) + "\n"


def _situations() -> Iterator[tuple[str, str, str]]:
    """File, test and parameter of each test; sources are read, nothing is run."""
    for name in TITLES:
        tree = ast.parse((HERE / name).read_text(encoding="utf-8"))
        named = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for test in tree.body:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                yield from ((name, test.name, given) for given in _parameters(test, named) or [""])


def _parameters(test: ast.FunctionDef, named: Mapping[str, ast.expr]) -> list[str]:
    """What a test is repeated for, as its source says it."""
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
            ids = next((word.value for word in mark.keywords if word.arg == "ids"), mark.args[1])
            values = named.get(ids.id, ids) if isinstance(ids, ast.Name) else ids
            items = values.keys if isinstance(values, ast.Dict) else getattr(values, "elts", [])
            return [_shown(item) for item in items if item is not None]
    return []


def _shown(item: ast.expr) -> str:
    """A text as it is; of several things the first, which says what is given."""
    if isinstance(item, ast.Constant):
        return " ".join(str(item.value).split())
    return _shown(item.elts[0]) if isinstance(item, ast.Tuple) else ast.unparse(item)


def _told(name: str, given: str) -> str:
    sentence = name.removeprefix("test_").replace("_", " ")
    return f"{sentence}: {given}".replace("|", "\\|") if given else sentence


def _outcomes(file: Path) -> dict[str, str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name: _outcome(node) for node in tree.body if isinstance(node, ast.FunctionDef)}


def _outcome(test: ast.FunctionDef) -> str:
    """What a test asks for, by the functions that it calls."""
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(test)
        if isinstance(node, ast.Call)
    }
    if not called.intersection(REFUSALS):
        return "evaluated"
    return "a sentence; typed, it works" if called.intersection(GOES) else "a sentence"


if __name__ == "__main__":
    sys.stdout.write(page())
