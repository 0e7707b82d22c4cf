"""A table as HTML, for notebooks: nothing but text, so it looks as the page around it does."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from bench.report.render import ColumnKind, Table, TableColumn, read_cell


def html(table: Table) -> str:
    """The table with its title, facts and notes; what names and notes hold is shown, never run.

    >>> print(html(Table("a < b", (TableColumn("n", "n", ColumnKind.COUNT),), ((1200,),))))
    <table>
    <caption>a &lt; b</caption>
    <thead><tr><th style="text-align: right">n</th></tr></thead>
    <tbody>
    <tr><td style="text-align: right">1,200</td></tr>
    </tbody>
    </table>
    """
    shown = [
        (column, place)
        for place, column in enumerate(table.columns)
        if not column.only_csv
        and (column.kind is not ColumnKind.TEXT or any(row[place] is not None for row in table.rows))
    ]
    head = "".join(_cell("th", column, column.title) for column, _ in shown)
    rows = [
        "".join(_cell("td", column, read_cell(column, row[place])) for column, place in shown)
        for row in table.rows
    ]
    return "\n".join(
        [
            *_list(f"{name}: {value}" for name, value in table.facts),
            "<table>",
            f"<caption>{escape(table.title)}</caption>",
            f"<thead><tr>{head}</tr></thead>",
            "<tbody>",
            *(f"<tr>{row}</tr>" for row in rows),
            "</tbody>",
            "</table>",
            *_list(table.notes),
        ]
    )


def lines(texts: Iterable[str]) -> str:
    """Sentences as a list; of none, nothing."""
    return "\n".join(_list(texts))


def _cell(tag: str, column: TableColumn, text: str) -> str:
    side = "left" if column.kind is ColumnKind.TEXT else "right"  # notebooks put all of it to the right
    return f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>'


def _list(texts: Iterable[str]) -> list[str]:
    items = [f"<li>{escape(text)}</li>" for text in texts]
    return ["<ul>", *items, "</ul>"] if items else []
