"""Every form of a board is read back by somebody else's reader: csv, pandas, a markdown parser, a TeX."""

from __future__ import annotations

import csv as comma_separated
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from bench.cli.main import main
from bench.errors import BadValue
from bench.records.record import Record, to_json
from bench.report.board import board, board_files
from bench.report.latex import PREAMBLE
from bench.report.latex_tables import board_latex
from bench.report.render import csv, markdown, terminal, values

Maker = Callable[..., Record]
Compare = Callable[[str, str], None]

NAMES = [
    "a|b",
    "x & y",
    "under_score_",
    "<b>bold</b>",
    "防御_ΑΒ",
    'q"uote, comma',
    "*star* `tick` [x](y)",
    *(r"\back", "[first]"),
]


@pytest.fixture
def hostile(make_record: Maker) -> list[Record]:
    return [
        make_record(run_id=f"{at:012d}", defense=name, worst=900 - at, reconstruction=f"{name} guessed")
        for at, name in enumerate(NAMES)
    ]


@pytest.fixture
def many(make_record: Maker) -> list[Record]:
    """200 records of 100 trainings under two suites."""
    return [
        make_record(run_id=f"{suite[:1]}{at:011d}", defense=f"d{at}", worst=100 + at, suite=suite)
        for at in range(100)
        for suite in ("whitebox@1", "blackbox@1")
    ]


def table_of(text: str) -> list[list[str]]:
    """The cells of the first table, as a forge shows them."""
    rows: list[list[str]] = []
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("th_open", "td_open"):
            parts = tokens[at + 1].children or []
            rows[-1].append("".join(part.content for part in parts if part.type in ("text", "html_inline")))
    return rows


def test_hostile_names_survive_csv(hostile: list[Record]) -> None:
    text = csv(board(hostile))
    held = list(comma_separated.DictReader(io.StringIO(text)))
    assert [row["defense"] for row in held] == NAMES
    frame = pd.read_csv(io.StringIO(text), dtype={"records": str})
    assert list(frame["defense"]) == NAMES and list(frame["records"]) == [r.run_id for r in hostile]
    assert frame["clean"].dtype == float and frame["rank"].dtype == int and frame["n"].dtype == int


def test_hostile_names_survive_markdown(hostile: list[Record]) -> None:
    text = markdown(board(hostile), "a comment -- of --> two")
    head, *rows = table_of(text)
    assert all(len(row) == len(head) for row in rows)
    shown = [row[head.index("defense")].partition(" [")[0] for row in rows]
    assert shown == [name.partition(" [")[0] for name in NAMES]
    assert "<b>" not in MarkdownIt("gfm-like", {"linkify": False}).render(text)


def test_links_are_links_to_a_reader(make_record: Maker) -> None:
    text = MarkdownIt("gfm-like", {"linkify": False}).render(markdown(board([make_record()])))
    assert '<a href="https://arxiv.org/abs/1706.06083">pgd_at</a>' in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a TeX with booktabs")
@pytest.mark.parametrize("wide", [False, True])
def test_hostile_names_survive_latex(hostile: list[Record], tmp_path: Path, wide: bool) -> None:
    latin = [record for record in hostile if "防" not in record.defense]
    text = board_latex(hostile, wide)
    assert text.startswith("% needs XeLaTeX or LuaLaTeX, for: Α Β 御 防\n")
    document = [r"\documentclass{article}", PREAMBLE, r"\begin{document}", board_latex(latin, wide)]
    (tmp_path / "it.tex").write_text("\n".join([*document, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "it.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    subprocess.run(["pdftotext", "-layout", "it.pdf"], cwd=tmp_path, check=True, timeout=60)
    seen = " ".join((tmp_path / "it.txt").read_text(encoding="utf-8").replace("_", " ").split())
    seen = seen.replace("\x84", "†")  # where TeX's usual fonts have it
    for part in (
        "a|b",
        "x & y†",
        "<b>bold</b>†",
        "comma†",
        "*star* ‘tick‘ [x](y)†",
        "[first]",
        r"\back†",
        "90.0",
    ):
        assert part in seen


def test_of_no_records_there_is_no_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board_files([]) == {}
    with pytest.raises(BadValue, match="at least one record"):
        board([])
    with pytest.raises(SystemExit) as left:
        main(["board", "--store", str(tmp_path)])
    assert left.value.code == 2 and "leads to no record" in capsys.readouterr().err


def test_one_row_in_every_form(make_record: Maker, golden: Compare) -> None:
    table = board([make_record()])
    golden("one.md", markdown(table))
    golden("one.csv", csv(table))
    golden("one.txt", terminal(table, 100))
    golden("one.json", json.dumps(values(table), indent=1) + "\n")
    golden("one.tex", board_latex([make_record()]))
    golden("one_wide.tex", board_latex([make_record()], wide=True))


def test_two_hundred_records_in_every_form(many: list[Record]) -> None:
    table = board(many)
    assert len(table_of(markdown(table))) == 101
    assert len(pd.read_csv(io.StringIO(csv(table)))) == 100 == len(values(table))
    assert board_latex(many).count(r" \\" + "\n") == 100 + 2  # rows and two lines of heads
    assert max(map(len, terminal(table, 100).splitlines())) <= 100


def test_what_is_missing_is_empty_for_programs_and_a_dash_for_people(make_record: Maker) -> None:
    bare = make_record(training=None, worst_case=None, columns=(), paper="", data="x")
    table = board([bare])
    (row,) = comma_separated.DictReader(io.StringIO(csv(table)))
    for name in ("parameters", "recipe", "training_seconds", "whitebox@1", "whitebox@1_low", "lowest"):
        assert row[name] == "", name
    assert row["clean"] == "0.8"
    head, cells = table_of(markdown(table))
    assert cells[head.index("whitebox@1 worst case %")] == "-" == cells[head.index("parameters")]
    assert "pgd\\_at" in board_latex([bare])


def test_every_column_is_filled_by_a_record_that_knows_everything(make_record: Maker) -> None:
    """A name that nobody fills would be an empty column forever."""
    filled = {
        name
        for changes in (
            {
                "reconstruction": "its loss",
                "spec": {"training": {"budget": {"norm": "Linf", "eps": "8/255"}}},
            },
            {"findings": (), "eot_samples": 1},
        )
        for row in values(board([make_record(**changes)]))
        for name, value in row.items()
        if value is not None
    }
    told = set(values(board([make_record()]))[0])
    assert told - filled == {"findings"}


def test_the_columns_of_a_csv_are_those_that_are_documented(make_record: Maker) -> None:
    page = (Path(__file__).parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    lines = page.partition("<!-- columns -->")[2].partition("<!-- /columns -->")[0].splitlines()[3:]
    told = [name for line in lines for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    made = csv(board([make_record()])).splitlines()[0].split(",")
    assert made == [name.replace("SUITE", "whitebox@1") for name in told]
    both = [make_record(run_id="a"), make_record(run_id="b", suite="blackbox@1", defense="other")]
    assert set(made) < set(csv(board(both)).splitlines()[0].split(",")), "other boards, other suites, no more"


def test_boards_of_a_folder_are_the_same_bytes_twice(
    genuine: Maker, many: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records").mkdir()
    told = [genuine(defense=one.defense, suite=one.suite, worst=100 + at) for at, one in enumerate(many)]
    for record in told:
        (tmp_path / "records" / f"{record.run_id}.json").write_text(to_json(record), encoding="utf-8")
    held = []
    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            main(["board", "--rebuild", str(tmp_path)])
        assert left.value.code == 0
        held.append({path.name: path.read_bytes() for path in tmp_path.glob("*.*")})
    assert held[0] == held[1] and set(held[0]) == {"cifar10-linf-8_255.md", "cifar10-linf-8_255.csv"}
    ids = [record.run_id for record in told]
    for text in held[0].values():
        assert all(run_id.encode() in text for run_id in ids), "every file says from which records it came"
    capsys.readouterr()


def test_json_is_one_list_of_boards(
    genuine: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "record.json").write_text(to_json(genuine(defense="防御")))
    with pytest.raises(SystemExit):
        main(["board", str(tmp_path / "record.json"), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["data"], found["norm"], found["eps"], found["n"]) == ("cifar10", "Linf", "8/255", 1000)
    assert found["suites"] == ["whitebox@1"] and found["rows"][0]["defense"] == "防御"
    assert (
        found["rows"][0]["whitebox@1"] == 0.451
        and found["rows"][0]["records"] == genuine(defense="防御").run_id
    )
