"""JSON is read in one place, strictly: what RFC 8259 leaves to each reader is refused here."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import bench
from bench.core import json_file
from bench.core.json_file import DEPTH, NotJSON, json_of, parse_json, read_json
from bench.errors import BadData

ROOT = Path(bench.__file__).parent


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "'a' twice"),
        ('{"x": {"a": 1, "a": 1}}', "'a' twice"),
        ("NaN", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("1e999", "no finite number"),
        ("9" * 21, "21 digits"),
        ("-" + "9" * 5000, "5000 digits"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "100 deep"),
        ("[" * 100_000, "100 deep"),
        ('{"a":' * 100_000, "100 deep"),
        ('["\\ud800"]', "half of a surrogate pair"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"\xef\xbb\xbf{}", "line 1"),
        ("", "line 1"),
        ("{}\n{}", "line 2"),
        ("\n\n[1,", "line 3"),
        ("'a'", "not JSON"),
    ],
)
def test_what_readers_differ_about_is_refused(text, told):
    with pytest.raises(NotJSON, match=told):
        parse_json(text)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -2.5e-300, True, None, "ü😀\n\u0000"], "": {}},
        [2**64 - 1, -(2**63), 0, 1.7976931348623157e308],
        "text",
    ],
)
def test_everything_else_is_what_the_standard_library_reads(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_the_deepest_that_is_read():
    assert parse_json("[" * DEPTH + "]" * DEPTH) is not None


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_file, "MOST", 1024)
    path = tmp_path / "large.json"
    path.write_text(json.dumps("x" * 1022))
    assert len(read_json(path)) == 1022
    path.write_text(json.dumps("x" * 1023))
    with pytest.raises(BadData, match=r"more than 1 KiB.*expected a record; try: bench list runs"):
        json_of(path, "a record", "bench list runs")


PARSERS = {"load", "loads", "JSONDecoder", "raw_decode", "validate_json", "read_json", "parse_raw"}


def parsed_elsewhere(path: Path) -> list[int]:
    """The lines of a module that read JSON by anything else than our reader."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "json":
            wrong += [node.lineno for name in node.names if name.name in PARSERS]
        if isinstance(node, ast.Attribute) and node.attr in PARSERS:
            owner = ast.unparse(node.value)
            if owner in ("json", "orjson", "pd", "pandas") or node.attr in ("raw_decode", "validate_json"):
                wrong.append(node.lineno)
    return wrong


def test_nothing_else_in_the_package_parses_json():
    found = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.rglob("*.py")
        if path != Path(json_file.__file__) and (lines := parsed_elsewhere(path))
    }
    assert not found, f"read by bench.core.json_file: {found}"


def test_the_search_finds_what_it_is_for(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import json\nfrom json import loads\nx = json.loads('1')\njson.load(y)\njson.dumps(1)\n")
    assert sorted(parsed_elsewhere(path)) == [2, 3, 4]
