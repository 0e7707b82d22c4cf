"""What trackers are told of a run: its cells, its columns, and its record at the end."""

from __future__ import annotations

from bench.core.outcomes import Outcomes
from bench.records.record import Record, to_json
from bench.report.render import markdown
from bench.report.table import run_table
from bench.runner.trackers.guard import Untracked
from bench.runner.trackers.hook import TrackedWork, work_of


def tell_cell(tracking: Untracked, work: TrackedWork, column: str, number: int, outcomes: Outcomes) -> None:
    """A chunk of a column: the share of its examples that stood."""
    tracking.figures(work, number, {f"cell/{column}": float(outcomes.robust.mean())})


def tell_column(tracking: Untracked, work: TrackedWork, column: str, outcomes: Outcomes) -> None:
    """A whole column: the share of all examples that stood."""
    tracking.figures(work, 0, {f"column/{column}": float(outcomes.robust.mean())})


def tell_record(tracking: Untracked, record: Record) -> None:
    """The end of a run, whether it was computed or answers from the store."""
    if not tracking.listens:
        return
    work = work_of("run", record.run_id, record.spec)
    values = {f"column/{one.name}": one.robust.value for one in record.columns if one.robust is not None}
    values["clean_accuracy"] = record.clean.value
    if record.worst_case is not None:
        values["worst_case"] = record.worst_case.value
    tracking.begin(work)
    tracking.end(work, values, {"table.md": markdown(run_table(record)), "record.json": to_json(record)})
