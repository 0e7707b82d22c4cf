"""The cells of a board: a number with its interval, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bench.core.listing import listing
from bench.records.claims import claim_of
from bench.records.record import Interval, Record
from bench.report.over_seeds import OverSeeds
from bench.report.rows import BoardRow
from bench.site.board_view import BEST_KNOWN, CLEAN, LOWEST, PUBLISHED, RANKED, Head, PageCell
from bench.site.bold import Bold
from bench.site.shares import alone, over_seeds, share


def cell_of(head: Head, row: BoardRow, held: Mapping[str, Record], bold: Bold) -> PageCell:
    """One number of a training."""
    if head.is_suite:
        return suite_cell(head.name, row, held.get(head.name), bold)
    if head.spent:
        return _cost_cell(_cost(head.name, row))
    if head.name == PUBLISHED:
        return claim_cell(row.first, row.lowest)
    value: Callable[[], Interval | float | None] = {
        CLEAN: lambda: row.first.clean,
        RANKED: lambda: _interval(row, row.ranked),
        LOWEST: lambda: _interval(row, row.lowest),
        BEST_KNOWN: lambda: row.best_known,
    }[head.name]
    found = value()
    is_bold = head.name == RANKED and row.first.run_id in bold[RANKED]
    return _share_cell(found, page_of(row.first) if head.name == CLEAN else None, is_bold)


def suite_cell(suite: str, row: BoardRow, record: Record | None, bold: Bold) -> PageCell:
    """The worst case of a suite, with a link to its record or to the command that makes it."""
    found = row.worst.get(suite)
    if found is not None and record is not None:
        return _share_cell(found[0], page_of(record), record.run_id in bold[suite])
    if record is not None:
        return PageCell(text="unknown", href=page_of(record), state="unknown")
    if listing(suite).asked_of == "owing" and row.adaptive == "not needed":
        return PageCell(text="not owed", state="not owed")
    return PageCell(text="not run", href=f"#{anchor(row, suite)}", state="not run")


def _share_cell(found: Interval | float | None, href: str | None = None, is_bold: bool = False) -> PageCell:
    if found is None:
        return PageCell(text="unknown", state="unknown")
    value = found.value if isinstance(found, Interval) else found
    drawn = share(found) if isinstance(found, Interval) else alone(found)
    return PageCell(f"{value:.6f}", drawn, href=href, bold=is_bold)


def _cost_cell(found: float | None) -> PageCell:
    return PageCell() if found is None else PageCell(f"{found}", text=f"{found:,.0f}")


def _cost(name: str, row: BoardRow) -> float | None:
    trained = row.first.training
    if name == "parameters":
        return trained.parameters if trained else None
    if name == "training_seconds":
        return trained.seconds if trained and trained.epochs else None
    return float(getattr(row, name))


def claim_cell(record: Record, lowest: float | None) -> PageCell:
    """What was published of the method, and by how much less was measured here."""
    claim = claim_of(record)
    if claim is None:
        return PageCell()
    less = "" if lowest is None else f"{100 * (lowest - claim.robust):+.1f} here".replace("-", "−")
    drawn = replace(alone(claim.robust), ends=less, told=f"{claim.kind}: {claim.source}")
    return PageCell(f"{claim.robust:.6f}", drawn)


def _interval(row: BoardRow, value: float | None) -> Interval | float | None:
    """The interval of a number that is one of the row's worst cases, or of images of others."""
    held = [found[0] for found in row.worst.values() if found]
    held += [record.imported[-1].best_known for record in row.records if record.imported]
    return next((found for found in held if found.value == value), value)


def mean_cell(cells: Sequence[PageCell]) -> PageCell:
    """Mean and deviation; a reason that all seeds share is theirs in common."""
    values = [float(cell.order) for cell in cells if cell.order]
    if not values:
        return cells[0] if all(cell.state == cells[0].state for cell in cells) else PageCell()
    found = OverSeeds.of(values, len(cells))
    if all(cell.share is None for cell in cells):
        return PageCell(f"{found.value}", text=f"{found.value:,.0f}")
    return PageCell(f"{found.value:.6f}", over_seeds(found))


def anchor(row: BoardRow, suite: str) -> str:
    """Where a board says which command is still to be run."""
    safe = "".join(sign if sign.isalnum() else "-" for sign in suite)
    return f"not-run-{row.first.run_id}-{safe}"


def page_of(record: Record) -> str:
    """The page of a record, as seen from a board's."""
    return f"../records/{record.run_id}.html"
