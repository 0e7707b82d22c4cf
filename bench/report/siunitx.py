"""Numbers of LaTeX tables in S columns of siunitx, which put decimal points below each other."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.over_seeds import OverSeeds
from bench.report.render import Cell, ColumnKind, TableColumn

PREAMBLE = r"\usepackage{booktabs,siunitx}"
"""What a document needs for such tables."""

_DECIMALS = {ColumnKind.SHARE: 1, ColumnKind.NUMBER: 1, ColumnKind.COUNT: 0}


def column_of(column: TableColumn, cells: Sequence[Cell]) -> str | None:
    r"""The type of a column with room for its longest number; None: it holds something else.

    >>> column_of(TableColumn("clean", "clean", ColumnKind.SHARE), [0.0512, 0.974, None])
    'S[table-format=2.1,detect-weight]'
    """
    if column.kind not in _DECIMALS:
        return None
    parts = [part for cell in cells if (part := _parts(column, cell)) is not None]
    if not parts:
        return None
    whole = max(len(value.partition(".")[0]) for value, _ in parts)
    widest = max((rest for _, rest in parts), key=len)
    options = [f"table-format={whole}.{_DECIMALS[column.kind]}", "detect-weight"]
    options += [f"table-space-text-post={widest}", "table-align-text-post=false"] if widest else []
    return f"S[{','.join(options)}]"


def number_of(column: TableColumn, cell: Cell, bold: bool = False) -> str | None:
    r"""A cell as an S column takes it, a deviation small behind the number; None: it is no number.

    >>> share = TableColumn("clean", "clean", ColumnKind.SHARE)
    >>> print(number_of(share, 0.974, bold=True), number_of(share, OverSeeds.of([0.4, 0.5, 0.6])))
    \bfseries 97.4 50.0{\tiny $\pm$10.0}
    """
    parts = _parts(column, cell)
    return None if parts is None else (r"\bfseries " if bold else "") + "".join(parts)


def _parts(column: TableColumn, cell: Cell) -> tuple[str, str] | None:
    """A number, and what stands small behind it, empty where there is nothing; None: it is no number."""
    scale = 100 if column.kind is ColumnKind.SHARE else 1
    if isinstance(cell, OverSeeds):
        value, _, rest = str(cell).partition(" ")
        small = rest.replace("± ", r"$\pm$")
        return value, rf"{{\tiny {small}}}" if rest else ""
    return (f"{scale * cell:.{_DECIMALS[column.kind]}f}", "") if isinstance(cell, (int, float)) else None
