"""What the site of documentation is built from: its order, its links, and the reference that code gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.cli.documentation import write_pages
from bench.cli.main import COMMANDS
from bench.records.rules import RULES
from bench.registry import SUITES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "docs"
    write_pages(ROOT, out)
    return out


def test_the_order_names_every_page_once_and_nothing_else(pages):
    order = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": (\S+\.md)$", order, re.M)
    there = {str(page.relative_to(pages)) for page in pages.rglob("*.md") if page.parent.name != "adr"}
    assert sorted(named) == sorted(there)


def test_links_between_pages_lead_to_pages(pages):
    for page in pages.glob("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"(?<!!)\[[^\]\[]+\]\(([^)\s#]+)", text):
            assert re.match(r"[a-z]+:", target) or (pages / target).exists(), f"{page.name} leads to {target}"


def test_the_reference_has_every_command_suite_and_rule(pages):
    commands, suites, rules, api = (
        (pages / "reference" / f"{name}.md").read_text(encoding="utf-8")
        for name in ("commands", "suites", "rules", "api")
    )
    assert all(f"## bench {name}\n" in commands for name in COMMANDS)
    assert "## bench show suite\n" in commands and "--fail-under" in commands
    assert all(re.search(rf"^## {name.partition('@')[0]}@", suites, re.M) for name in SUITES.names())
    assert all(f"| {rule} |" in rules for rule in RULES)
    assert "## bench.evaluate\n" in api and "device: str = 'auto'" in api and "::: bench.api" in api


def test_a_notebook_is_a_page_too(pages):
    text = (pages / "quickstart.md").read_text(encoding="utf-8")
    cells = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert text.startswith("# Quick start") and "](quickstart.ipynb)" in text
    assert re.findall(r"```python\n(.*?)\n```", text, re.S) == code
