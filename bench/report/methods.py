"""Methods of a board: the trainings that differ in their seed alone, ranked and shown together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.core.digest import content_id
from bench.records.record import Balanced, Interval, Record
from bench.report.over_seeds import OverSeeds
from bench.report.render import Cell, Marked
from bench.report.rows import BoardRow

Row = Mapping[str, Cell]
"""A row of a board, by the names of CSV's columns."""

_SHARES = ("lowest", "ranked")
_COSTS = ("forwards", "backwards", "seconds", "training_seconds")


def by_method(rows: Sequence[BoardRow]) -> list[list[BoardRow]]:
    """The trainings that differ in their seed alone, together; a seed that came twice stands alone."""
    found: dict[str, list[BoardRow]] = {}
    for row in rows:
        found.setdefault(method_of(row.first), []).append(row)
    return [
        part
        for group in found.values()
        for part in ([group] if _differ_in_seed(group) else [[row] for row in group])
    ]


def method_of(record: Record) -> str:
    """What the seeds of a method share: all of the training but its seed, and what follows from that.

    Names do not tell all of it: a training may begin with weights of others, or mix in images of others.
    """
    training = {**record.spec.get("training", {})}
    for name in ("id", "seed", "parents"):
        training.pop(name, None)
    return content_id([record.defense, record.architecture, record.recipe, training])


def ranked(methods: Sequence[list[BoardRow]]) -> Iterator[tuple[int, list[BoardRow]]]:
    """Methods by the mean of what ranks them, from 1; equal ones share a rank, incomplete ones come last."""
    scored = [(_score(method), method[0].order, method) for method in methods]
    rank, before = 0, None
    for place, (score, _, method) in enumerate(sorted(scored, key=lambda held: held[:2]), start=1):
        rank, before = (rank if score == before else place), score
        yield rank, method


def together(group: Sequence[Row]) -> dict[str, Cell]:
    """One row of the seeds of a method: shares as mean and deviation, mean costs, marks and findings of all.

    What only one training has, its seed, its records and the column that broke most, is None.
    """
    first = group[0]
    found = dict(first)
    for name in first:
        values = [_plain(row[name]) for row in group if row[name] is not None]
        if name in _COSTS and values:
            found[name] = round(sum(values) / len(values), 6)
        elif values and (name in _SHARES or any(_is_measured(row[name]) for row in group)):
            found[name] = OverSeeds.of(values, len(group))
        elif name.endswith("_column"):
            found[name] = None
    marks = "".join(
        dict.fromkeys("".join(c.mark for row in group if isinstance(c := row["defense"], Marked)))
    )
    found["defense"] = Marked(text_of(first["defense"]), marks, _link(first["defense"]))
    codes = sorted({code for row in group if row["findings"] for code in str(row["findings"]).split(", ")})
    found["findings"] = ", ".join(codes) or None
    found["seed"] = found["records"] = None
    found["adaptive"] = "owed" if any(row["adaptive"] == "owed" for row in group) else first["adaptive"]
    return found


def text_of(cell: Cell) -> str:
    """The text of a cell without its mark."""
    return cell.text if isinstance(cell, Marked) else str(cell)


def _differ_in_seed(group: Sequence[BoardRow]) -> bool:
    return len({row.first.seed for row in group}) == len(group)


def _score(method: Sequence[BoardRow]) -> tuple[bool, float]:
    values = [row.ranked for row in method if row.ranked is not None]
    return any(row.missing for row in method), -round(OverSeeds.of(values).value, 9) if values else 1.0


def _is_measured(cell: Cell) -> bool:
    return isinstance(cell, (Interval, Balanced))


def _plain(cell: Cell) -> float:
    held = cell.value if isinstance(cell, (Interval, Balanced)) else cell
    return float(held) if isinstance(held, (int, float)) else 0.0


def _link(cell: Cell) -> str | None:
    return cell.link if isinstance(cell, Marked) else None
