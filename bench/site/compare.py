"""What the page knows of each row, to put two of them side by side in the reader's browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.records.follow_ups import chain
from bench.records.record import Column, Interval, Record
from bench.report.exchange import AUTOATTACK, Published
from bench.site.board_view import BoardView, PageRow


def rows_to_compare(boards: Sequence[BoardView]) -> dict[str, Any]:
    """Board -> its title and rows: clean, worst cases and columns, with what held example by example.

    Of published rows there are figures in percent alone, and whose they are.
    """
    return {
        board.stem: {
            "title": board.place.label,
            "rows": {row.key: _row(row) for row in board.rows}
            | {row.key: _published(row, row.published) for row in board.others if row.published},
        }
        for board in boards
    }


def _row(row: PageRow) -> dict[str, Any]:
    first = next(iter(row.records.values()))
    return {
        "name": row.name,
        "facts": {
            "measured by": "the records of this page",
            "paper": first.paper,
            "architecture": first.architecture,
            "recipe": first.recipe,
            "reconstruction": first.reconstruction or "no",
            "findings": ", ".join(row.findings) or "none",
        },
        "clean": _share(first.clean),
        "lowest": None if row.lowest is None else round(100 * row.lowest, 2),
        "suites": {suite: _suite(record) for suite, record in row.records.items()},
    }


def _published(row: PageRow, theirs: Published) -> dict[str, Any]:
    return {
        "name": f"{row.name} (published)",
        "published": theirs.source,
        "facts": {
            "measured by": f"{_who(theirs)} ({theirs.id}.json)",
            "paper": theirs.source,
            "architecture": theirs.architecture or "not said",
            "recipe": "not said",
            "reconstruction": "not said",
            "findings": "nobody looked here",
        },
        "clean": theirs.clean,
        "lowest": theirs.robust,
        "suites": {AUTOATTACK: {"worst": theirs.autoattack, "held": None, "columns": []}},
    }


def _who(theirs: Published) -> str:
    return f"bench runs {', '.join(theirs.runs)}" if theirs.runs else "others, on weights of theirs"


def _suite(record: Record) -> dict[str, Any]:
    held = record.robust_examples
    return {
        "run": record.run_id,
        "worst": _share(record.worst_case) if record.worst_case else None,
        "held": {"ids": held.ids, "robust": held.worst_case} if held else None,
        "columns": [
            {
                "name": column.name,
                "knowledge": column.knowledge,
                "robust": _share(column.robust) if column.robust else None,
                "passes": _passes(column, record),
            }
            for column in record.columns
        ],
    }


def _passes(column: Column, record: Record) -> float:
    """What its accuracy cost: of a column that goes on from others, with theirs."""
    spent = chain(column, record.columns)
    return round(sum((one.forwards or 0.0) + (one.backwards or 0.0) for one in spent), 1)


def _share(found: Interval) -> list[float]:
    """Count, n, and the interval in percent."""
    return [found.count, found.n, round(100 * found.low, 1), round(100 * found.high, 1)]
