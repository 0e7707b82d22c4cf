"""The documents name files that are there, and say how long the smallest plug-ins are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINES = {
    "`standard`": "defenses/standard.py",
    "`noise`": "bench/attacks/noise.py",
    "`smoke`": "bench/suites/smoke.py",
    "`digits`": "bench/data/digits.py",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)\)", text):
        assert link.startswith("http") or (page.parent / link).exists(), link
    for path in re.findall(r"`((?:bench|defenses|tests|benchmarks)/[\w./]*)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_the_smallest_plug_ins_are_as_long_as_is_said():
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for name, path in LINES.items():
        (told,) = re.findall(rf"(\d+) \({re.escape(name)}\)", text)
        assert int(told) == len((ROOT / path).read_text(encoding="utf-8").splitlines()), name
    (told,) = re.findall(r"(\d+) \(`curve`", text)
    folder = ROOT / "bench" / "studies" / "curve"
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.py"))
    assert abs(int(told) - lines) <= 100
