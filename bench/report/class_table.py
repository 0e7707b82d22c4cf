"""One run class by class: a row for each class, then all examples, then the mean over the classes."""

from __future__ import annotations

from bench.core.by_class import wilson
from bench.errors import BadValue
from bench.records.record import ByClass, Interval, Record
from bench.report.board import origin
from bench.report.latex import caption, escape, latex
from bench.report.render import Cell, ColumnKind, Table, TableColumn

COLUMNS = (
    TableColumn("run", "run", only_csv=True),
    TableColumn("defense", "defense", only_csv=True),
    TableColumn("suite", "suite", only_csv=True),
    TableColumn("data", "data", only_csv=True),
    TableColumn("norm", "norm", only_csv=True),
    TableColumn("eps", "eps", only_csv=True),
    TableColumn("class", "class"),
    TableColumn("n", "n", ColumnKind.COUNT),
    TableColumn("clean accuracy %", "clean", ColumnKind.INTERVAL),
    TableColumn("robust accuracy %", "robust", ColumnKind.INTERVAL),
)

ALL, BALANCED = "all examples", "balanced"
"""The rows that follow the classes."""

MEANT = (
    "balanced: the mean over classes, each of which counts alike; its interval is Wilson's with the number "
    "of examples of which a plain share would be as uncertain"
)


def class_table(record: Record) -> Table:
    """Clean accuracy and the worst case of each class, with 95 % intervals.

    Raises:
        BadValue: the record was made before classes were counted.
    """
    held = _of(record)
    name = (record.run_id, record.defense, record.suite, record.data, record.norm, record.eps)
    rows: list[tuple[Cell, ...]] = [
        (*name, one.name, one.n, _share(one.clean, one.n), _share(one.robust, one.n)) for one in held.classes
    ]
    rows.append((*name, ALL, record.examples, record.clean, record.worst_case))
    rows.append((*name, BALANCED, None, held.clean, held.robust))
    facts = (
        ("data", f"{record.data}, {record.examples} examples, {len(held.classes)} classes"),
        ("budget", record.budget),
        ("seed", str(record.seed)),
        ("run", record.run_id),
    )
    return Table(
        f"{record.defense} under {record.suite}, by class", COLUMNS, tuple(rows), facts, _notes(held)
    )


def class_latex(record: Record) -> str:
    """The same for a paper.

    Raises:
        BadValue: the record was made before classes were counted.
    """
    table = class_table(record)
    about = (
        rf"\textbf{{{escape(record.defense)}}} ({escape(record.architecture)}, seed {record.seed}) under "
        f"{escape(record.suite)}{' (custom)' if record.custom else ''}, by class."
    )
    said = caption(record.data, record.norm, record.eps, record.examples, [record.suite])
    more = "Balanced: the mean over the classes."
    label = f"tab:classes-{record.run_id[:6]}"
    plain = Table("", table.columns, table.rows)
    return latex(plain, f"{about} {said} {more}", label, (), origin([record]), style=r"\footnotesize")


def _of(record: Record) -> ByClass:
    if record.by_class is None:
        raise BadValue(
            f"record {record.run_id} was made before classes were counted, expected one of this version",
            "the bench run that made it, which makes the figures anew from its stored cells",
        )
    return record.by_class


def _share(count: int | None, n: int) -> Interval | None:
    if count is None:
        return None
    value, low, high = (round(end, 6) for end in wilson(count / n, n))
    return Interval(value, low, high, count, n)


def _notes(held: ByClass) -> tuple[str, ...]:
    notes = ["accuracies are over the examples of a class, with 95 % Wilson intervals", MEANT]
    if held.robust is not None:
        least = min(held.classes, key=lambda one: (one.robust or 0) / one.n)
        notes.append(f"least robust: {least.name}, {least.robust} of {least.n}")
    return tuple(notes)
