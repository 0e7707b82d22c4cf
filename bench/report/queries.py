"""Queries to success as a curve: the share of examples still robust after each number of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.outcomes import Outcomes
from bench.core.survival import Survival, survival
from bench.core.threat import DECISIONS, SCORES
from bench.errors import BadValue
from bench.records.record import Record
from bench.report.names import pretty
from bench.report.paper import COLOURS, COLUMN, DASHES, MARKERS, Drawing, plain, require_few, sheet
from bench.report.setting import require_same_images

QUERY_BASED = (SCORES.label, DECISIONS.label)
"""The knowledge of attackers who have nothing but the answers to their queries."""

COLUMNS = ("run", "defense", "column", "knowledge", "queries", "robust", "n", "robust_accuracy")


@dataclass(frozen=True)
class RunOutcomes:
    """A record with what each of its columns did to each example."""

    record: Record
    outcomes: Mapping[str, Outcomes]


def queries(runs: Sequence[RunOutcomes], every_column: bool = False, width: float = COLUMN) -> Drawing:
    """A line for each query-based column of each run, or for every column.

    Raises:
        BadValue: a run has no such column, the runs cannot be compared, or there are too many lines.
    """
    require_same_images([run.record for run in runs], "queries")
    first = runs[0].record
    chosen = [(run, _columns(run, every_column)) for run in runs]
    names = list(dict.fromkeys(name for _, columns in chosen for name in columns))
    alone = len(runs) == 1
    require_apart(len(runs), len(names))
    figure = sheet(width, legend_height(len(runs) * len(names), width) + 2.2)
    axes = figure.subplots()
    rows: list[tuple[object, ...]] = []
    for place, (run, columns) in enumerate(chosen):
        for name in columns:
            curve, kind = survival(run.outcomes[name]), names.index(name)
            colour, style = (
                (COLOURS[kind % 7], DASHES[(kind + kind // 7) % 7])
                if alone
                else (COLOURS[place], DASHES[kind if len(names) > 1 else place])
            )
            share = 100 * curve.robust / curve.n
            label = plain(line_label(run, runs, name, len(names)))
            marker = MARKERS[(kind + kind // 7) % 7 if alone else place]
            look: dict[str, Any] = {"color": colour, "marker": marker, "markevery": [-1], "clip_on": False}
            axes.step(curve.queries, share, where="post", linestyle=style, label=label, **look)
            rows += _rows(run.record, name, curve)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 101)
    axes.set_xlabel("queries" if not every_column else "forward passes charged to an example")
    axes.set_ylabel("still robust (% of all examples)")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=legend_columns(width), handlelength=3.2)
    name = f"queries-{first.run_id}" if alone else "queries"
    return Drawing(name, figure, COLUMNS, rows, _caption([run.record for run in runs], names, every_column))


def legend_columns(width: float) -> int:
    """How many names of lines have room beside each other."""
    return max(1, int(width / 1.6))


def legend_height(entries: int, width: float) -> float:
    """Inches for a legend below a figure."""
    return 0.17 * -(-entries // legend_columns(width))


def _columns(run: RunOutcomes, every_column: bool) -> list[str]:
    record = run.record
    computed = [column for column in record.columns if column.name in run.outcomes]
    found = [column.name for column in computed if every_column or column.knowledge in QUERY_BASED]
    if not found:
        there = ", ".join(column.name for column in computed) or "none"
        raise BadValue(
            f"run {record.run_id} of {record.defense} has no column whose attacker asks for scores or labels "
            f"alone, expected a suite that has one or every column ({there})",
            "--every-column",
        )
    return found


def require_apart(runs: int, columns: int) -> None:
    """As many as can be told apart: of one run by colour and dashes, of several each has a colour."""
    require_few(runs, "runs", hint="--top 7, or --only NAME,NAME")
    most = len(DASHES) if runs > 1 else len(COLOURS) * len(DASHES)
    require_few(columns, "columns", most, "the id of one run" if runs > 1 else None)


def line_label(run: RunOutcomes, runs: Sequence[RunOutcomes], column: str, columns: int) -> str:
    """What tells this line from the others, and no more."""
    if len(runs) == 1:
        return column
    record, name = run.record, pretty(run.record.defense)
    same = [other.record for other in runs if other.record.defense == record.defense]
    if len(same) > 1:
        name += f", seed {record.seed}"
        if record.trained_at and len({other.trained_at for other in same}) > 1:
            name += f", {record.trained_at}"
        if sum((o.seed, o.trained_at) == (record.seed, record.trained_at) for o in same) > 1:
            name += f", {record.suite}, {record.run_id[:6]}"
    return f"{name}: {column}" if columns > 1 else name


def _caption(records: Sequence[Record], columns: Sequence[str], every_column: bool) -> str:
    first, names = records[0], dict.fromkeys(pretty(record.defense) for record in records)
    spent = "forward passes charged to" if every_column else "queries spent on"
    told = (
        f"Share of all examples still robust against the {spent} an example, of {', '.join(names)} "
        f"under {', '.join(columns)}; lines end where the attack stopped asking, at its query limit at the "
        "latest"
    )
    going_on = {column.name for record in records for column in record.columns if column.after is not None}
    if going_on & {*columns}:
        told += f"; {', '.join(name for name in columns if name in going_on)}: on what the column before left"
    return f"{told}. {first.data}, {first.budget}, n = {first.examples:,}."


def _rows(record: Record, column: str, curve: Survival) -> list[tuple[object, ...]]:
    (knowledge,) = (held.knowledge for held in record.columns if held.name == column)
    return [
        (record.run_id, record.defense, column, knowledge, int(spent), int(left), curve.n, left / curve.n)
        for spent, left in zip(curve.queries, curve.robust, strict=True)
    ]
