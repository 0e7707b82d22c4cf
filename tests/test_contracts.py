"""The layers hold, each contract can still be broken, and the rules of the house are kept."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("bench", "defenses") for path in (ROOT / package).rglob("*.py"))

LAYERS = "Inside bench, dependencies point downwards"
SEAM = "A defense builds on training, attacks and networks, never on the runner"
NAMELESS = "The harness never names a defense"
LIGHT = "Records and reports never load torch"
SIBLINGS = "Defenses share losses, nothing else"

VIOLATIONS = [
    (LAYERS, "bench/core/seeds.py", "import bench.attacks.pgd"),
    (LAYERS, "bench/utils.py", '"""A module in no layer."""'),
    (SEAM, "defenses/standard.py", "import bench.plan"),
    (NAMELESS, "bench/cli/list_.py", "import defenses.standard"),
    (LIGHT, "bench/report/render.py", "import torch"),
    (SIBLINGS, "defenses/standard.py", "import defenses.pgd_at"),
]


def lint(folder: Path) -> tuple[int, dict[str, str]]:
    """import-linter's exit code and, for each contract, KEPT or BROKEN."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, flags=re.MULTILINE))
    assert found, done.stdout + done.stderr
    return done.returncode, found


def copied(folder: Path) -> Path:
    for package in ("bench", "defenses"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", folder)
    return folder


def test_every_contract_is_kept() -> None:
    code, found = lint(ROOT)
    assert (code, set(found.values())) == (0, {"KEPT"})
    assert set(found) == {LAYERS, SEAM, NAMELESS, LIGHT, SIBLINGS}


def test_every_contract_has_a_violation_here() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    names = {config[part]["name"] for part in config.sections() if part.startswith("importlinter:contract:")}
    assert names == {contract for contract, _, _ in VIOLATIONS}


@pytest.mark.parametrize(("contract", "path", "line"), VIOLATIONS, ids=[f"{v[1]}" for v in VIOLATIONS])
def test_a_violation_breaks_its_contract(contract: str, path: str, line: str, tmp_path: Path) -> None:
    broken = copied(tmp_path) / path
    text = broken.read_text() if broken.exists() else ""
    broken.write_text(f"{text}\n{line}\n")
    code, found = lint(tmp_path)
    assert code != 0
    assert found[contract] == "BROKEN"
    assert set(found) == {LAYERS, SEAM, NAMELESS, LIGHT, SIBLINGS}


def for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints(path: Path) -> None:
    if (ROOT / "bench" / "cli") not in path.parents:
        assert "print" not in set(calls(path))


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc", "manager", "tools"}
    assert [path for path in SOURCES if path.stem in drawers or path.parent.name in drawers] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if path.name == "__init__.py":  # a re-export would tie every digest to the whole package
        tree.body = [node for node in tree.body if not for_type_checkers(node)]
        named = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        named += [
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        ]
        ours = [name for name in named if (name or "").partition(".")[0] in ("bench", "defenses")]
        assert ours == [] if path.parent == ROOT / "bench" else named == []


SHARED = ("__init__", "losses", "ablations")
DEFENSES = [path for path in SOURCES if path.parent.name == "defenses" and path.stem not in SHARED]


@pytest.mark.parametrize("path", DEFENSES, ids=lambda path: path.stem)
def test_every_defense_cites_a_year(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert re.search(r"\b(19|20)\d\d\b", docstring)


def test_every_row_of_the_table_is_a_class_or_value_of_its_module() -> None:
    table = ast.literal_eval((ROOT / "defenses" / "__init__.py").read_text().partition("DEFENSES = ")[2])
    assert list(table) == sorted(table)
    for target in table.values():
        module, _, name = target.partition(":")
        tree = ast.parse((ROOT / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
        named = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        named |= {
            t.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for t in node.targets
            if isinstance(t, ast.Name)
        }
        assert name in named
