"""Boards: the defenses of many records, ranked by what they keep in the worst case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.traits import ANSWERED_BY, owed
from bench.errors import BadValue
from bench.records.record import Finding, Interval, Record
from bench.report.audit import signs
from bench.report.ground import Ground, ground, suite_label
from bench.report.render import Cell, Column, Kind, Marked, Table, csv, markdown


def grounds(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each board, in order; a record given twice counts once.

    Images that differ under one name make boards of their own.
    """
    found: dict[tuple[Ground, str], list[Record]] = {}
    for record in _distinct(records):
        found.setdefault((ground(record), record.data_digest), []).append(record)
    return [found[key] for key in sorted(found)]


def board(records: Sequence[Record]) -> Table:
    """Rank trainings by the lowest of their worst cases over suites; a suite not run ranks after all others.

    Raises BadValue for records that do not share data, norm, eps and n, and for two records of one training
    under one suite.
    """
    shared = _shared(records)
    suites = sorted({suite_label(record) for record in records})
    rows = sorted((_row(group, suites) for group in _trainings(records).values()), key=lambda row: row.order)
    lowest = len(suites) > 1
    imported = any(record.imported for record in records)
    marks = _marks(rows)
    traits_are_told = any(row.traits for row in rows)
    columns = [
        Column("rank", "rank", Kind.COUNT),
        Column("defense", "defense"),
        Column("reconstruction", "reconstruction", only_csv=True),
        *((Column("adaptive", "adaptive", only_csv=True),) if traits_are_told else ()),
        Column("architecture", "architecture", dispensable=3),
        Column("parameters", "parameters", Kind.COUNT, dispensable=7),
        Column("clean %", "clean", Kind.INTERVAL),
    ]
    for suite in suites:
        columns += [
            Column(f"{suite} worst case %", suite, Kind.INTERVAL),
            Column(f"{suite} worst column", f"{suite}_column", only_csv=True),
        ]
    columns += [
        *((Column("best known %", "best_known", Kind.INTERVAL),) if imported else ()),
        Column("lowest %", "lowest", Kind.SHARE, only_csv=not lowest),
        Column("findings", "findings", dispensable=1),
        Column("seed", "seed", Kind.COUNT),
        Column("n", "n", Kind.COUNT, dispensable=9),
        Column("forwards", "forwards", Kind.NUMBER, dispensable=4),
        Column("backwards", "backwards", Kind.NUMBER, dispensable=6),
        Column("seconds", "seconds", Kind.NUMBER, dispensable=5),
        Column("recipe", "recipe", only_csv=True),
        Column("training seconds", "training_seconds", Kind.NUMBER, dispensable=8),
        Column("records", "records", dispensable=2),
    ]
    cells = tuple(
        _cells(row, rank, suites, marks, traits_are_told, imported)
        for row, rank in zip(rows, _ranks(rows), strict=True)
    )
    return Table(shared.label, tuple(columns), cells, notes=_notes(rows, marks, lowest))


def board_files(records: Sequence[Record], local: bool = False) -> dict[str, str]:
    """File name -> content of all boards that these records make; the same records, the same bytes.

    Where several numbers of examples share data and budget, the largest has the plain name; where different
    images share a name, each board's name ends with their digest.
    """
    groups = grounds(records)
    largest: dict[str, int] = {}
    for group in groups:
        place = ground(group[0])
        largest[place.stem] = max(largest.get(place.stem, 0), place.n)
    files: dict[str, str] = {}
    for group in groups:
        place = ground(group[0])
        stem = place.stem if place.n == largest[place.stem] else f"{place.stem}-n{place.n}"
        if sum(ground(other[0]) == place for other in groups) > 1:
            stem = f"{stem}-{group[0].data_digest}"
        if f"{stem}.md" in files:
            raise BadValue(
                f"two data sets would share the board {stem}.md, one of them {place.data!r}, "
                "expected names that differ in their letters"
            )
        table = board(group)
        files[f"{stem}.md"] = markdown(table, _comment(group, local))
        files[f"{stem}.csv"] = csv(table)
    return files


@dataclass(frozen=True)
class _Row:
    records: tuple[Record, ...]
    worst: dict[str, tuple[Interval, str] | None]  # suite -> worst case and the column that did most of it
    missing: dict[str, str]  # suite -> why it has no worst case

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def best_known(self) -> Interval | None:
        """The lowest number of all, images of others included."""
        known = [record.best_known for record in self.records if record.best_known is not None]
        return min(known, key=lambda found: found.value, default=None)

    @property
    def lowest(self) -> float | None:
        measured = [found[0].value for found in self.worst.values() if found]
        imported = [record.imported[-1].best_known.value for record in self.records if record.imported]
        return min([*measured, *imported], default=None)

    @property
    def traits(self) -> frozenset[str]:
        return frozenset(trait for record in self.records for trait in record.traits)

    @property
    def owed(self) -> tuple[str, ...]:
        """The traits that no attack on this training was made against."""
        columns = [column for record in self.records for column in record.columns]
        return owed(self.traits, {trait for column in columns for trait in column.answers})

    @property
    def adaptive(self) -> str | None:
        """None: its records were made before traits were noted."""
        if all(record.eot_samples is None for record in self.records):
            return None
        return "owed" if self.owed else "yes" if self.traits else "not needed"

    @property
    def masked(self) -> Finding | None:
        """A sign that gradients mislead: an attacker who sees less did better than all who see everything."""
        white = [r.worst_case for r in self.records if {c.level for c in r.columns} == {"white-box"}]
        everything = min((found.value for found in white if found), default=None)
        columns = [column for record in self.records for column in record.columns]
        less = [(c.robust.value, c.name, c.level) for c in columns if c.robust and c.level != "white-box"]
        if everything is None or not less or min(less)[0] >= everything:
            return None
        value, name, level = min(less)
        detail = f"{name} leaves {100 * value:.1f} %, all white-box attacks together {100 * everything:.1f} %"
        return Finding(f"{level}-beats-white-box", "warn", detail)

    @property
    def score(self) -> tuple[bool, float]:
        return bool(self.missing), -(self.lowest if self.lowest is not None else -1.0)

    @property
    def order(self) -> tuple[tuple[bool, float], str, int, str, str]:
        first = self.first
        return self.score, first.defense, first.seed, first.architecture, first.run_id


def _shared(records: Sequence[Record]) -> Ground:
    if not records:
        raise BadValue("a board needs at least one record, but none was given", "bench run --board")
    first = records[0]
    for other in records[1:]:
        if ground(other) != ground(first):
            raise BadValue(
                f"records {first.run_id} ({ground(first).label}) and {other.run_id} ({ground(other).label}) "
                "cannot be ranked together, expected the same data, norm, eps and number of examples"
            )
        if other.data_digest != first.data_digest:
            raise BadValue(
                f"records {first.run_id} and {other.run_id} saw different images under the name "
                f"{first.data!r} ({first.data_digest} and {other.data_digest}), expected the same"
            )
    return ground(first)


def _distinct(records: Sequence[Record]) -> list[Record]:
    return sorted({record.run_id: record for record in records}.values(), key=lambda record: record.run_id)


def _trainings(records: Sequence[Record]) -> dict[tuple[str, int, str, str], list[Record]]:
    found: dict[tuple[str, int, str, str], list[Record]] = {}
    for record in _distinct(records):
        training = record.training.training_id if record.training else ""
        key = (record.defense, record.seed, record.architecture, training)
        found.setdefault(key, []).append(record)
    return found


def _row(group: Sequence[Record], suites: Sequence[str]) -> _Row:
    by_suite: dict[str, Record] = {}
    for record in group:
        suite = suite_label(record)
        if suite in by_suite:
            raise BadValue(
                f"records {by_suite[suite].run_id} and {record.run_id} are both {record.defense} "
                f"(seed {record.seed}) under {suite}, expected one of them"
            )
        by_suite[suite] = record
    worst: dict[str, tuple[Interval, str] | None] = {}
    missing: dict[str, str] = {}
    for suite in suites:
        worst[suite] = None
        if suite not in by_suite:
            missing[suite] = "was not run"
            continue
        record = by_suite[suite]
        failed = [column.name for column in record.columns if column.error is not None]
        if failed:
            missing[suite] = f"failed in {', '.join(failed)}"
        if record.worst_case is None:
            missing.setdefault(suite, "has no worst case")
            continue
        measured = [(c.robust.value, c.name) for c in record.columns if c.robust is not None]
        worst[suite] = record.worst_case, min(measured)[1] if measured else ""
    return _Row(tuple(group), worst, missing)


def _ranks(rows: Sequence[_Row]) -> list[int]:
    ranks: list[int] = []
    for place, row in enumerate(rows):
        tied = place > 0 and row.score == rows[place - 1].score
        ranks.append(ranks[-1] if tied else place + 1)
    return ranks


def _cells(
    row: _Row,
    rank: int,
    suites: Sequence[str],
    marks: dict[str, str],
    traits_are_told: bool,
    imported: bool,
) -> tuple[Cell, ...]:
    first, trained = row.first, row.first.training
    cells: list[Cell] = [
        rank,
        Marked(
            first.defense,
            marks.get(first.defense, "") + ("!" if row.missing else "") + ("*" if row.owed else ""),
        ),
        first.reconstruction,
        *((row.adaptive,) if traits_are_told else ()),
        first.architecture,
        trained.parameters if trained else None,
        first.clean,
    ]
    for suite in suites:
        found = row.worst[suite]
        cells += [found[0], found[1]] if found else [None, None]
    columns = [column for record in row.records for column in record.columns]
    codes = {sign for record in row.records for sign in signs(record)}
    codes |= {row.masked.code} if row.masked else set()
    cells += [
        *((row.best_known,) if imported else ()),
        row.lowest,
        ", ".join(sorted(codes)) or None,
        first.seed,
        first.examples,
        sum(column.forwards or 0.0 for column in columns),
        sum(column.backwards or 0.0 for column in columns),
        sum(column.seconds for column in columns),
        trained.recipe if trained else None,
        trained.seconds if trained else None,
        ", ".join(record.run_id for record in row.records),
    ]
    return tuple(cells)


def _marks(rows: Sequence[_Row]) -> dict[str, str]:
    reconstructed = sorted({row.first.defense for row in rows if row.first.reconstruction})
    return {defense: f" [{number}]" for number, defense in enumerate(reconstructed, start=1)}


def _notes(rows: Sequence[_Row], marks: dict[str, str], lowest: bool) -> tuple[str, ...]:
    notes = []
    for defense, mark in marks.items():
        text = next(row.first.reconstruction for row in rows if row.first.defense == defense)
        notes.append(f"{mark.strip()} {defense} is a reconstruction: {text}")
    for row in rows:
        if row.missing:
            why = "; ".join(f"{suite} {what}" for suite, what in row.missing.items())
            notes.append(
                f"! {row.first.defense} (seed {row.first.seed}) is ranked after the complete rows: {why}"
            )
    for row in rows:
        if row.owed:
            lacking = "; ".join(f"{trait} asks for {ANSWERED_BY[trait]}" for trait in row.owed)
            told = f"* {row.first.defense} (seed {row.first.seed}) owes an adaptive attack: {lacking}"
            notes.append(f"{told} (--suite adaptive)")
    for row in rows:
        if row.masked:
            told = f"{row.first.defense} (seed {row.first.seed}): {row.masked.detail}"
            notes.append(f"{row.masked.code}: {told}")
    if any(record.imported for row in rows for record in row.records):
        notes.append("best known: the lowest number, with images that others made and bench import judged")
    over = "the lowest worst case over suites" if lowest else "the worst case"
    notes.append(f"rank: by {over}; accuracies are over all n examples, with 95 % Wilson intervals")
    notes.append("forwards and backwards: per example, all trials together; seconds: of the attacks")
    return tuple(notes)


def _comment(records: Sequence[Record], local: bool) -> str:
    versions = ", ".join(sorted({record.provenance.version for record in records}))
    ids = ", ".join(record.run_id for record in records)
    return f"{'local board, not published: ' if local else ''}bench {versions}, from records {ids}"
