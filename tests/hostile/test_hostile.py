"""Records that anybody may have written, shown in every form: nothing of theirs is run, opened or computed.

Each file beside this one is a genuine record with one hostile field; `make.py` makes them.
"""

from __future__ import annotations

import csv as comma_separated
import dataclasses
import importlib.util
import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from bench.core.encoding import decode
from bench.errors import BadData, BenchError
from bench.publish import publish
from bench.records.reading import from_json
from bench.records.record import Record, to_json
from bench.records.store import Store
from bench.report import html, latex_tables, render
from bench.report.audit import audit_table
from bench.report.board import as_values, board
from bench.report.exchange import export
from bench.report.junit import junit
from bench.report.setting import by_setting
from bench.report.table import run_table
from bench.runner.spec_of_record import spec_of
from bench.site.commands import reproduce
from bench.site.pages import site_files, write_site

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.json"))
NAMES = [path.stem for path in FILES]

MARKER = "PWNED"


def read(path: Path) -> Record | None:
    """The record, if it is read; what is refused is told in one line that does nothing."""
    try:
        return from_json(path.read_text(encoding="utf-8"), str(path))
    except BadData as error:
        assert str(error).isprintable() and len(str(error)) < 1500
        return None


HELD = [record for path in FILES if (record := read(path)) is not None]
LINK = re.compile(r"https?://|#|data:image/|[\w./-]*[\w/]+(\.(html|json|css|js|svg))?(#|$)")
"""Where a page may lead: the web, itself, its own pages."""

IDS = [path.stem for path in FILES if read(path) is not None]


@pytest.fixture(scope="module")
def known() -> list[Tags]:
    """The pages of the genuine record."""
    genuine = from_json((FOLDER / "genuine.json").read_text(encoding="utf-8"))
    return [Tags(page) for name, page in site_files([genuine]).items() if name.endswith(".html")]


@pytest.fixture(params=HELD, ids=IDS)
def record(request: pytest.FixtureRequest) -> Record:
    """Each hostile record that is read at all."""
    return request.param


def test_the_files_are_what_the_script_makes() -> None:
    spec = importlib.util.spec_from_file_location("make", FOLDER / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    there = {path.name: json.loads(path.read_text()) for path in FILES if path.name != "genuine.json"}
    assert make.corpus() == there and len(there) > 90


def test_most_are_read_and_names_are_not() -> None:
    """Text may be anything, so hostile text is shown as it is; what names a file or code is refused."""
    refused = {name for name in NAMES if name not in IDS}
    assert len(IDS) > 40 and len(refused) > 30
    for name in ("run_id.path", "training.training_id.path", "evidence.file.path", "imported.0.file.path"):
        assert name in refused
    for name in ("columns.0.name.path", "data_digest.path", "audit.0.command.text", "provenance.commit.text"):
        assert name in refused
    for name in ("defense.text", "data.text", "paper.text", "columns.0.attack.text", "audit.0.detail.text"):
        assert name in IDS


def test_text_is_one_line_wherever_it_stands(record: Record) -> None:
    texts = [text for text in strings(dataclasses.asdict(dataclasses.replace(record, spec={})))]
    assert all(text.isprintable() for text in texts)


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for key, inside in value.items() for text in (*strings(key), *strings(inside)))
    elif isinstance(value, (list, tuple)):
        yield from (text for inside in value for text in strings(inside))


class Tags(HTMLParser):
    """Which tags a page has, which attributes, and where it leads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts = 0
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_page_runs_nothing_and_leads_nowhere_else(
    record: Record, known: list[Tags], tmp_path: Path
) -> None:
    made = site_files([record])
    assert all(re.fullmatch(r"[\w.-]+|(boards|records|curves)/[\w.-]+", name) for name in made)
    assert not any(part.startswith("..") for name in made for part in Path(name).parts)
    for name, page in made.items():
        if name.endswith(".html"):
            seen = Tags(page)
            assert seen.scripts <= max(one.scripts for one in known)
            assert seen.tags <= set().union(*(one.tags for one in known))
            assert seen.attributes <= set().union(*(one.attributes for one in known))
            assert all(map(LINK.match, seen.links)), seen.links
    assert "</script" not in made["rows.js"] and made["rows.js"].isascii()
    (tmp_path / "in").mkdir()
    write_site(made, tmp_path / "in" / "page")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["page"]


def test_commands_are_one_command_each(record: Record) -> None:
    for line in reproduce(record):
        assert line.isprintable()
        if line.startswith("#"):
            continue
        signs = shlex.shlex(line, posix=True, punctuation_chars=True)
        signs.whitespace_split = True
        words = list(signs)
        assert words[0] in ("git", "bench") or words[0].startswith("OMP_NUM_THREADS="), line
        assert not any(set(word) <= set("();<>|&") for word in words), "nothing of it is another command"
        assert shlex.join(shlex.split(line)).replace("'", "") == line.replace("'", ""), "all is quoted"
    for check in record.audit:
        assert check.command is None or check.command == shlex.join(
            ["bench", *shlex.split(check.command)[1:]]
        )


PLAIN = ("table", "thead", "tbody", "tr", "th", "td", "ul", "li")


def test_tables_hold_no_formula_no_markup_and_no_controls(record: Record) -> None:
    tables = [run_table(record), audit_table(record), *(board(group) for group in by_setting([record]))]
    for table in tables:
        told = render.terminal(table, 120)
        assert all(line.isprintable() for line in told.split("\n"))
        for row in comma_separated.reader(io.StringIO(render.csv(table))):
            assert all(cell.lstrip()[:1] not in ("=", "+", "@", "-") or is_number(cell) for cell in row), row
        page = MarkdownIt("gfm-like", {"linkify": False}).render(render.markdown(table, record.defense))
        seen = Tags(page)
        assert seen.tags <= {
            "h1",
            "ul",
            "li",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "a",
            "code",
            "em",
            "p",
        }
        assert all(link.startswith(("https://", "http://")) for link in seen.links)
        assert Tags(html.html(table)).tags <= {
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "ul",
            "li",
        }


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_tex_sets_it_and_obeys_none_of_it(record: Record) -> None:
    for text in (latex_tables.run_latex(record), latex_tables.board_latex([record], wide=True)):
        bare = re.sub(r"(?m)^%.*$", "", text)
        assert not re.search(r"\\(input|write|include|openout|immediate|csname|def|let)\b", bare)
        labels = re.findall(r"\\label\{([^}]*)\}", bare)
        assert labels and all(re.fullmatch("[A-Za-z0-9:._-]+", label) for label in labels)
        bare = re.sub(r"\\[\\{}%$#&_]", "", bare)
        assert bare.count("{") == bare.count("}")
        for line in bare.splitlines():
            assert "%" not in line.replace(r"\,", "") and "#" not in line


def test_forges_and_other_boards_get_it_as_text(record: Record) -> None:
    assert json.loads(json.dumps([as_values([record])], ensure_ascii=False))
    assert "<script" not in junit(record, None)
    assert from_json(to_json(record)) == record
    try:
        files = export([record])
    except BenchError as error:
        assert str(error).isprintable()
    else:
        assert all(re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) and ".." not in name for name in files)


def test_publishing_stays_in_its_folder(record: Record, tmp_path: Path) -> None:
    boards = tmp_path / "in" / "boards"
    try:
        publish([record], boards, lambda modules: dict(record.provenance.sources))
    except BenchError as error:
        assert str(error).isprintable()
    assert [path.name for path in tmp_path.iterdir()] in ([], ["in"])
    assert {path.name for path in tmp_path.glob("in/*")} <= {"boards"}
    assert {path.name for path in boards.glob("*") if path.is_dir()} <= {"records"}


def test_no_code_is_found_by_what_a_record_names() -> None:
    before = {*sys.modules}
    for path in FILES:
        held = json.loads(path.read_text(encoding="utf-8"))["spec"]
        for part in (held["suite"], held["budget"], held["numerics"], held["training"]["defense"]):
            try:
                decode(part)
            except BenchError as error:
                assert "\n" not in str(error)
    assert not {"antigravity", "webbrowser"} & ({*sys.modules} - before)


def test_trainings_that_lead_to_themselves_or_away_are_one_sentence(tmp_path: Path) -> None:
    """In a store of somebody else: ids are checked before they are followed."""
    record, store = from_json((FOLDER / "genuine.json").read_text(encoding="utf-8")), Store(tmp_path)
    name = record.spec["training"]["id"]
    for parent in (name, "../../PWNED", ["x"], {"a": 1}, None):
        folder = store.model(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "training.json").write_text("{}")
        spec = {**record.spec["training"], "parents": {"teacher": parent}}
        (folder / "spec.json").write_text(json.dumps({"spec": spec, "sources": {}}))
        with pytest.raises(BenchError, match="missing, damaged or of another training"):
            spec_of(record, store)


@pytest.mark.parametrize("name", ["defense.text", "architecture.text", "data.text", "training.recipe.text"])
def test_figures_show_text_and_set_no_formula(name: str, tmp_path: Path, bench: Callable[..., Any]) -> None:
    record = from_json((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    boards = tmp_path / "boards"
    (boards / "records").mkdir(parents=True)
    (boards / "records" / f"{record.run_id}.json").write_text(to_json(record), encoding="utf-8")
    for kind in ("scatter", "cost"):
        told = bench("plot", kind, boards, "--store", boards, "--out", tmp_path / "out", "--format", "svg")
        assert told.code == 0, told.err
    assert {path.parent for path in tmp_path.rglob("*.svg")} == {tmp_path / "out"}
    for path in tmp_path.rglob("*.csv"):
        for row in comma_separated.reader(path.open(encoding="utf-8")):
            assert all(cell.lstrip()[:1] not in ("=", "+", "@", "-") or is_number(cell) for cell in row)
