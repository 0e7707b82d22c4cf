from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from bench.publish import read_records
from bench.records.record import Interval
from bench.report.board import board
from bench.report.layout import jointed
from bench.report.render import (
    ColumnKind,
    Marked,
    Table,
    TableColumn,
    csv,
    escape,
    markdown,
    percent,
    read_cell,
    terminal,
)
from bench.report.setting import by_setting

NASTY = [
    "a|b",
    "R&D",
    "<script>",
    "snake_case_name",
    "*star*",
    "[x](y)",
    "`code`",
    "back\\slash",
    "agkd[m=0.5]",
]

TABLE = Table(
    "numbers & <names>",
    (
        TableColumn("name", "name"),
        TableColumn("count", "count", ColumnKind.COUNT),
        TableColumn("mean", "mean", ColumnKind.NUMBER),
        TableColumn("share %", "share", ColumnKind.SHARE),
        TableColumn("robust %", "robust", ColumnKind.INTERVAL),
        TableColumn("hidden", "hidden", only_csv=True),
    ),
    (
        ("first, with comma", 11_171_146, 1234.56, 0.4375, Interval(0.451, 0.4203, 0.4821, 451, 1000), "x"),
        ('second "quoted"', None, None, None, None, None),
        (Marked("third", " [1]"), 0, 0.0, 1.0, Interval(0.0, 0.0, 0.0038, 0, 1000), "y"),
    ),
    facts=(("data", "cifar10"),),
    notes=("[1] third is a_guess",),
)


def test_pandas_reads_the_csv_back() -> None:
    frame = pd.read_csv(io.StringIO(csv(TABLE)))
    assert list(frame.columns) == [
        "name",
        "count",
        "mean",
        "share",
        "robust",
        "robust_low",
        "robust_high",
        "hidden",
    ]
    assert list(frame["name"]) == ["first, with comma", 'second "quoted"', "third"]
    assert frame["count"][0] == 11_171_146
    assert frame["mean"][0] == 1234.56
    assert frame.loc[0, ["robust", "robust_low", "robust_high"]].tolist() == [0.451, 0.4203, 0.4821]
    assert frame.loc[1, ["count", "mean", "share", "robust", "robust_low", "robust_high"]].isna().all()


def test_csv_has_one_header_line_and_no_comment() -> None:
    lines = csv(TABLE).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("name,count")


@pytest.mark.parametrize("name", NASTY)
def test_markdown_shows_every_name_as_it_is(name: str) -> None:
    table = Table("t", (TableColumn("name", "name"), TableColumn("other", "other")), ((name, "end"),))
    html = MarkdownIt("commonmark").enable("table").render(markdown(table))
    cells = [part.partition("</td>")[0] for part in html.split("<td>")[1:]]
    for sign, entity in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        cells = [cell.replace(sign, entity) for cell in cells]
    assert cells == [name, "end"]


def test_markdown_is_a_table_with_the_figures_of_people() -> None:
    html = MarkdownIt("commonmark").enable("table").render(markdown(TABLE, "made from -- records"))
    assert html.startswith("<!-- made from - - records -->\n<h1>numbers &amp; &lt;names&gt;</h1>")
    assert html.count("<tr>") == 4
    for shown in (
        "11,171,146",
        "1,234.6",
        ">43.8<",
        ">45.1 [42.0, 48.2]<",
        ">0.0 [0.0, 0.4]<",
        "third [1]",
        ">-<",
    ):
        assert shown in html
    assert "hidden" not in html


def test_escape_joins_lines() -> None:
    assert escape("a\n| b") == "a \\| b"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_fits_the_width_without_colour_and_loses_nothing(width: int) -> None:
    text = terminal(TABLE, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text and "…" not in text
    squeezed = "".join(text.split())
    for shown in ("11,171,146", "1,234.6", "43.8", "45.1[42.0,48.2]", "third[1]", "a_guess", "cifar10"):
        assert shown in squeezed or all(
            part in text for part in shown.replace("[", " [").replace(",", ", ").split()
        )


def test_terminal_keeps_brackets_that_look_like_markup() -> None:
    table = Table("[bold]t", (TableColumn("name", "name"),), (("agkd_bml[margin=0.05]",), ("[red]x[/red]",)))
    text = terminal(table, 80)
    assert "agkd_bml[margin=0.05]" in text and "[red]x[/red]" in text and "[bold]t" in text


def test_percent_has_one_decimal() -> None:
    assert percent(Interval(1.0, 0.99617, 1.0, 1000, 1000)) == "100.0 [99.6, 100.0]"


def test_a_row_of_the_wrong_length_is_a_fault() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells, the table 2 columns"):
        Table("t", (TableColumn("a", "a"), TableColumn("b", "b")), (("x",),))


def test_a_long_name_breaks_at_its_joints() -> None:
    table = Table(
        "", (TableColumn("defense", "a"), TableColumn("b", "b")), (("dbp_teacher_adversarial", "x" * 30),)
    )
    lines = terminal(table, 48).splitlines()
    assert [line.split()[0] for line in lines[4:6]] == ["dbp_teacher_", "adversarial"]
    assert all(len(line) <= 48 for line in lines)


@pytest.fixture(scope="module")
def published() -> list[Table]:
    """The published boards."""
    records = read_records(Path(__file__).parents[3] / "leaderboards")
    return [board(group) for group in by_setting(records)]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_published_boards_fit_a_terminal_and_no_word_is_broken(published: list[Table], width: int) -> None:
    for table in published:
        lines = terminal(table, width).splitlines()
        assert max(map(len, lines)) <= width, table.title
        words = {word for text in spoken(table) for word in text.split()}
        joined = {piece for word in words for piece in jointed(word, 16).split()}
        rule = next(place for place, line in enumerate(lines) if set(line) == {"-"})
        rows = lines[lines.index("") : lines.index("", rule)]
        strange = {word for line in rows for word in line.split()} - words - joined - {lines[rule]}
        assert not strange, table.title


def spoken(table: Table) -> Iterator[str]:
    """Every title and cell of a table, as it is read."""
    for place, column in enumerate(table.columns):
        yield column.title
        yield from (read_cell(column, row[place]) for row in table.rows)


def test_first_what_costs_goes_then_bounds_then_suites_from_the_right() -> None:
    half, more = Interval(0.5, 0.4, 0.6, 50, 100), Interval(0.25, 0.2, 0.3, 25, 100)
    columns = (
        TableColumn("defense", "defense"),
        TableColumn("one", "one", ColumnKind.INTERVAL, spare=True),
        TableColumn("two", "two", ColumnKind.INTERVAL, spare=True),
        TableColumn("lowest", "lowest", ColumnKind.SHARE),
        TableColumn("seconds", "seconds", ColumnKind.NUMBER, dispensable=1),
    )
    table = Table("t", columns, (("trades", half, more, 0.25, 1.5),))
    assert "seconds" in terminal(table, 66).splitlines()[2]
    rows = {width: terminal(table, width).splitlines() for width in (57, 40, 24, 16)}
    assert [rows[width][4].split() for width in rows] == [
        ["trades", "50.0", "[40.0,", "60.0]", "25.0", "[20.0,", "30.0]", "25.0"],
        ["trades", "50.0", "25.0", "25.0"],
        ["trades", "50.0", "25.0"],
        ["trades", "25.0"],
    ]
    told = " ".join(" ".join(rows[24]).split())
    assert "want of width: two, seconds, the bounds of intervals; a wider terminal or --json has all" in told
