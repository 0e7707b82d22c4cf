"""What an attacker may see, level by level: one table for the README and for whoever shows a suite."""

from __future__ import annotations

from bench.core.threat import (
    DECISIONS,
    GRAY_BOX_CLASSIFIER,
    GRAY_BOX_TWIN,
    GRAY_BOX_UNDEFENDED,
    SCORES,
    TRANSFER,
    WHITE_BOX,
    WHITE_BOX_BPDA,
)
from bench.report.render import ColumnKind, Table, TableColumn

LEVELS = (
    WHITE_BOX,
    WHITE_BOX_BPDA,
    GRAY_BOX_CLASSIFIER,
    GRAY_BOX_TWIN,
    GRAY_BOX_UNDEFENDED,
    TRANSFER,
    SCORES,
    DECISIONS,
)
"""Every knowledge that suites use, from most to least."""


def knowledge_table() -> Table:
    """A row for each level."""
    columns = tuple(
        TableColumn(title, title, ColumnKind.TEXT)
        for title in ("knowledge", "gradients of", "answers", "knows")
    )
    rows = tuple(
        (level.label, level.gradients.value, _answers(level.feedback.value, level.max_queries), level.means)
        for level in LEVELS
    )
    return Table("What an attacker may see", columns, rows)


def _answers(feedback: str, limit: int | None) -> str:
    return feedback if limit is None else f"{feedback}, at most {limit:,} queries"
