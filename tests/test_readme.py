"""The README leads somewhere; behind it are the code's table of knowledge, and a defense that works."""

import re
from pathlib import Path

import pytest

from bench.check import check_defense
from bench.report.knowledge import knowledge_table
from bench.report.render import markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def page(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def test_the_table_of_knowledge_is_the_codes():
    (shown,) = re.findall(r"<!-- knowledge -->\n\n(.*?)\n\n<!-- /knowledge -->", page("suites"), re.DOTALL)
    assert shown == markdown(knowledge_table()).split("\n\n", 1)[1].strip()


def example():
    (code,) = re.findall(r"```python\n(.*?)```", page("extending"), re.DOTALL)
    return code


def test_the_example_is_complete_and_under_sixty_lines(tmp_path):
    assert len(example().splitlines()) < 60
    path = tmp_path / "mixed_at.py"
    path.write_text(example(), encoding="utf-8")
    assert not [checked for checked in check_defense(f"{path}:MixedAt") if not checked.kept]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert link.startswith("http") or (ROOT / link).exists()
