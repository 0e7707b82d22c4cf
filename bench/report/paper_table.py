"""What a table of a paper shows of a board: which rows, by which names, seeds apart or together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.errors import unknown
from bench.records.claims import link
from bench.records.record import Balanced, Interval, Record
from bench.report.board import board
from bench.report.names import pretty, renamed
from bench.report.over_seeds import OverSeeds
from bench.report.render import Cell, Marked

Row = Mapping[str, Cell]


@dataclass(frozen=True)
class PaperTable:
    """What was asked for; without anything, the whole board."""

    columns: tuple[str, ...] = ()  # by their names in CSV; empty: those that have room
    only: tuple[str, ...] = ()  # defenses, with or without their fields; empty: all
    top: int | None = None  # so many defenses, the first of the board
    names: Mapping[str, str] = field(default_factory=dict)  # defense -> what the paper calls it
    over_seeds: bool = False  # mean and standard deviation instead of a row for each seed
    cite: bool = False

    def chosen(self, records: Sequence[Record]) -> list[Record]:
        """The records of the defenses that the table shows.

        Raises:
            UnknownName: a defense has no record.
        """
        there = list(dict.fromkeys(record.defense for record in records))
        for name in self.only:
            if not any(_is_named(defense, name) for defense in there):
                raise unknown("defense in --only", name, there, owner="this board")
        left = [r for r in records if not self.only or any(_is_named(r.defense, n) for n in self.only)]
        if self.top is None:
            return left
        table = board(left)
        place = [column.name for column in table.columns].index("defense")
        ranked = [cell.text for row in table.rows if isinstance(cell := row[place], Marked)]
        best = list(dict.fromkeys(ranked))[: self.top]
        return [record for record in left if record.defense in best]

    def shown(self, rows: Sequence[Row]) -> list[Row]:
        """The rows as the table has them, before anything is renamed."""
        if not self.over_seeds:
            return list(rows)
        groups: dict[tuple[Cell, ...], list[Row]] = {}
        for row in rows:
            key = (_text(row["defense"]), *(row[name] for name in _SAME))
            groups.setdefault(key, []).append(row)
        return sorted(map(_together, groups.values()), key=_place)

    def called(self, cell: Marked) -> Marked:
        """A defense as the paper names and cites it."""
        with renamed(self.names):
            return replace(cell, text=pretty(cell.text), cite=key(cell.text) if self.cite else None)


_SAME = ("origin", "architecture", "trained_at", "recipe")
_SUMMED = ("forwards", "backwards", "training_seconds")


def key(defense: str) -> str | None:
    """The key by which a paper is cited; None: it is not known where it is.

    >>> key("trades[beta=3]"), key("standard")
    ('arxiv-1901.08573', None)
    """
    place = link(defense)
    if place is None:
        return None
    server, _, name = place.removeprefix("https://").partition("/")
    return (
        f"arxiv-{name.rpartition('/')[2]}" if server == "arxiv.org" else f"paper-{defense.partition('[')[0]}"
    )


def bibliography(rows: Sequence[Row]) -> list[str]:
    """BibTeX of what is cited, as comments of a table: entries to be pasted where references are kept."""
    entries: dict[str, str] = {}
    for row in rows:
        name = key(_text(row["defense"]))
        if name is not None:
            told = str(row["paper"]).replace("{", "(").replace("}", ")")
            entries[name] = f"@misc{{{name}, note = {{{told}}}, howpublished = {{{row['link']}}}}}"
    return [entries[name] for name in sorted(entries)]


def _place(row: Row) -> tuple[bool, bool, float]:
    """Complete rows first, the highest mean before the others; published rows last."""
    cell, held = row["defense"], row["ranked"]
    mean = held.value if isinstance(held, OverSeeds) else -1.0
    incomplete = isinstance(cell, Marked) and "!" in cell.mark
    return row["origin"] == "published", incomplete, -mean


def _is_named(defense: str, name: str) -> bool:
    return name in (defense, defense.partition("[")[0])


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Marked) else str(cell)


def _together(group: Sequence[Row]) -> Row:
    """One row of the seeds of a method: shares as mean and deviation, marks and findings of all."""
    first = group[0]
    found = dict(first)
    for name, cell in first.items():
        values = [held.value if isinstance(held, (Interval, Balanced)) else held for held in _of(group, name)]
        if isinstance(cell, (Interval, Balanced)) or (
            isinstance(cell, float) and name in ("lowest", "ranked")
        ):
            found[name] = OverSeeds.of([float(str(value)) for value in values], len(group))
        elif name in _SUMMED and values:
            found[name] = sum(float(str(value)) for value in values) / len(values)
    marks = "".join(
        dict.fromkeys("".join(c.mark for row in group if isinstance(c := row["defense"], Marked)))
    )
    found["defense"] = Marked(_text(first["defense"]), marks)
    codes = sorted({code for row in group if row["findings"] for code in str(row["findings"]).split(", ")})
    found["findings"] = ", ".join(codes) or None
    found["seed"] = None
    found["adaptive"] = "owed" if any(row["adaptive"] == "owed" for row in group) else first["adaptive"]
    return found


def _of(group: Sequence[Row], name: str) -> list[Cell]:
    return [row[name] for row in group if row[name] is not None]
