"""Queries to success as a curve: the share of examples still robust after each number of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from bench.core.outcomes import Outcomes
from bench.core.survival import Survival, survival
from bench.core.threat import DECISIONS, SCORES
from bench.errors import BadValue
from bench.records.record import Record
from bench.report import paper
from bench.report.paper import COLOURS, PAGE, Drawing, plain, sheet

QUERY_BASED = (SCORES.label, DECISIONS.label)
"""The knowledge of attackers who have nothing but the answers to their queries."""

COLUMNS = ("run", "defense", "column", "knowledge", "queries", "robust", "n", "robust_accuracy")

STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (6, 3)), (0, (2, 2)))


@dataclass(frozen=True)
class Run:
    """A record with what each of its columns did to each example."""

    record: Record
    outcomes: Mapping[str, Outcomes]


def queries(runs: Sequence[Run], every_column: bool = False) -> Drawing:
    """A line for each query-based column of each run, or for every column.

    Raises:
        BadValue: a run has no such column, the runs cannot be compared, or there are too many lines.
    """
    first = _same_ground(runs)
    chosen = [(run, _columns(run, every_column)) for run in runs]
    names = list(dict.fromkeys(name for _, columns in chosen for name in columns))
    alone = len(runs) == 1
    require_few(len(runs), len(names))
    what = "Robust accuracy against the queries spent on an example"
    if alone or len(names) == 1:
        what += f": {plain(first.defense if alone else names[0])}"
    of = f"{plain(first.data)}, {paper.budget(cast(Any, first))}, n = {first.examples:,}"  # norm and eps
    about = f"{of}; lines end where the attack stopped asking, at its query limit at the latest"
    figure = sheet(PAGE, 2.6 + 0.12 * len(runs) * len(names), what, about)
    axes = figure.subplots()
    rows: list[tuple[object, ...]] = []
    for place, (run, columns) in enumerate(chosen):
        for name in columns:
            curve, kind = survival(run.outcomes[name]), names.index(name)
            colour, style = (COLOURS[kind], "-") if alone else (COLOURS[place], STYLES[kind])
            share = 100 * curve.robust / curve.n
            label = plain(line_label(run, runs, name, len(names)))
            axes.step(curve.queries, share, where="post", color=colour, linestyle=style, label=label)
            axes.plot(curve.queries[-1], share[-1], "o", color=colour, markersize=3.5, clip_on=False)
            rows += _rows(run.record, name, curve)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 101)
    axes.set_xlabel("queries" if not every_column else "forward passes charged to an example")
    axes.set_ylabel("still robust (% of all examples)")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=3, handlelength=3.2)
    return Drawing(f"queries-{first.run_id}" if alone else "queries", figure, COLUMNS, rows)


def _columns(run: Run, every_column: bool) -> list[str]:
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


def require_few(runs: int, columns: int) -> None:
    """As many as can be told apart: one run has a colour for each column, several have one for each run."""
    for count, most, what in (
        (runs, len(COLOURS), "runs"),
        (columns, len(COLOURS if runs == 1 else STYLES), "columns"),
    ):
        if count > most:
            raise BadValue(f"{count} {what} are more than one figure can show, expected at most {most}")


def line_label(run: Run, runs: Sequence[Run], column: str, columns: int) -> str:
    """What tells this line from the others, and no more."""
    if len(runs) == 1:
        return column
    record, name = run.record, run.record.defense
    same = [other.record for other in runs if other.record.defense == name]
    if len(same) > 1:
        name += f", seed {record.seed}"
        if sum(other.seed == record.seed for other in same) > 1:
            name += f", {record.suite}, {record.run_id[:6]}"
    return f"{name}: {column}" if columns > 1 else name


def _rows(record: Record, column: str, curve: Survival) -> list[tuple[object, ...]]:
    (knowledge,) = (held.knowledge for held in record.columns if held.name == column)
    return [
        (record.run_id, record.defense, column, knowledge, int(spent), int(left), curve.n, left / curve.n)
        for spent, left in zip(curve.queries, curve.robust, strict=True)
    ]


def _same_ground(runs: Sequence[Run]) -> Record:
    """The first, after all were found to be of the same images and budget."""
    first = runs[0].record
    for record in (run.record for run in runs):
        if _ground(record) != _ground(first):
            raise BadValue(
                f"queries cannot be compared: run {first.run_id} is of {_told(first)}, {record.run_id} of "
                f"{_told(record)}, expected the same of all",
                "bench plot with one of them at a time",
            )
    return first


def _ground(record: Record) -> tuple[object, ...]:
    return record.data_digest, record.norm, record.eps, record.examples


def _told(record: Record) -> str:
    return f"{record.data}, {record.budget}, {record.examples} examples"
