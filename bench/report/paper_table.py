"""What a table of a paper shows of a board: which rows, by which names, seeds apart or together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.errors import unknown
from bench.records.record import Record
from bench.report.bibliography import bibliography, cited
from bench.report.board import board
from bench.report.methods import Row, method_of, text_of, together
from bench.report.names import pretty, renamed
from bench.report.over_seeds import OverSeeds
from bench.report.render import Marked


@dataclass(frozen=True)
class PaperTable:
    """What was asked for; without anything, the whole board."""

    columns: tuple[str, ...] = ()  # by their names in CSV; empty: those that have room
    only: tuple[str, ...] = ()  # defenses, with or without their fields; empty: all
    top: int | None = None  # so many defenses, the first of the board
    names: Mapping[str, str] = field(default_factory=dict)  # defense -> what the paper calls it
    over_seeds: bool = False  # mean and standard deviation instead of a row for each seed
    cite: bool = False  # the papers of defenses, by the keys of `defenses/bibliography.csv`
    siunitx: bool = False  # numbers in S columns

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

    def shown(self, rows: Sequence[Row], records: Sequence[Record]) -> list[Row]:
        """The rows of these records as the table has them, before anything is renamed."""
        if not self.over_seeds:
            return list(rows)
        methods = {record.run_id: method_of(record) for record in records}
        groups: dict[str, list[Row]] = {}
        for place, row in enumerate(rows):
            name = methods.get(str(row["records"]).partition(",")[0], f"published {place}")
            groups.setdefault(name, []).append(row)
        return sorted(map(together, groups.values()), key=_place)

    def called(self, cell: Marked, row: Row) -> Marked:
        """A defense as the paper names and cites it; `row` is where it stands."""
        entry = cited(cell.text, _paper(row)) if self.cite and row["origin"] != "published" else None
        with renamed(self.names):
            return replace(cell, text=pretty(cell.text), cite=entry[0] if entry else None)

    def references(self, rows: Sequence[Row]) -> str:
        """BibTeX of what the rows cite."""
        own = [row for row in rows if row["origin"] != "published"]
        return bibliography((text_of(row["defense"]), _paper(row)) for row in own) if self.cite else ""


def _paper(row: Row) -> str:
    return str(row["paper"] or "")


def _place(row: Row) -> tuple[bool, bool, float]:
    """Complete rows first, the highest mean before the others; published rows last."""
    cell, held = row["defense"], row["ranked"]
    mean = held.value if isinstance(held, OverSeeds) else -1.0
    incomplete = isinstance(cell, Marked) and "!" in cell.mark
    return row["origin"] == "published", incomplete, -mean


def _is_named(defense: str, name: str) -> bool:
    return name in (defense, defense.partition("[")[0])
