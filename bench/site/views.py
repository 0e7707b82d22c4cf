"""What the pages show, as plain values: boards with their rows, and records one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.threat import format_eps
from bench.records.claims import claim_of, link
from bench.records.origin import for_others
from bench.records.record import Check, Column, Finding, Interval, Provenance, Record
from bench.records.rules import RULES
from bench.report import board as boards
from bench.report.exchange import Published
from bench.report.render import WEB, Cell, ColumnKind, Marked, Table, TableColumn, read_cell
from bench.report.setting import Setting, by_setting, in_order, setting, suite_label
from bench.report.table import note, untrained
from bench.site.commands import reproduce

LEFT_OUT = ("records", "n")
"""Columns of a board that every page says elsewhere."""

_SPENT = 3
"""Columns that tables drop this late or later on narrow terminals are shown on demand."""

_Cells = tuple[Cell, ...]
_Shown = Sequence[tuple[int, TableColumn]]


@dataclass(frozen=True)
class Share:
    """An interval as it is written and drawn, in percent."""

    value: str
    low: str
    high: str
    count: int
    n: int
    left: float  # of the whisker, in percent of the bar
    width: float
    at: float


@dataclass(frozen=True)
class Rank:
    """One cell of a board."""

    text: str
    order: str  # what it is sorted by
    share: Share | None = None
    href: str | None = None
    mark: str = ""


@dataclass(frozen=True)
class Head:
    """One column of a board."""

    title: str
    name: str
    number: bool
    spent: bool  # a cost, shown on demand


@dataclass(frozen=True)
class PageRow:
    """One training on a board, with its records by suite; or what others published, without any."""

    key: str
    name: str
    places: tuple[Rank, ...]
    records: Mapping[str, Record]
    findings: tuple[str, ...]  # as the board shows them: of records, of audits, of all suites together
    lowest: float | None  # the lowest share that is known
    published: Published | None = None


@dataclass(frozen=True)
class BoardView:
    """One board."""

    stem: str
    place: Setting
    suites: tuple[str, ...]
    heads: tuple[Head, ...]
    rows: tuple[PageRow, ...]
    others: tuple[PageRow, ...]  # published ones, never ranked
    notes: tuple[str, ...]

    @property
    def budget(self) -> str:
        """Norm and radius."""
        return f"{self.place.norm} {format_eps(self.place.eps)}"

    @property
    def best(self) -> PageRow:
        """The first row."""
        return self.rows[0]

    @property
    def places(self) -> list[Located]:
        """Where each record of the board is found."""
        return [Located(record.run_id, self, row) for row in self.rows for record in row.records.values()]


@dataclass(frozen=True)
class Located:
    """A record's place on a board."""

    run_id: str
    board: BoardView
    row: PageRow


@dataclass(frozen=True)
class Card:
    """What one kind of attacker may see, and what it did."""

    label: str
    means: str
    gradients: str
    answers: str
    trials: tuple[tuple[Column, Share | None, str | None], ...]  # with what happened besides


@dataclass(frozen=True)
class RecordView:
    """One record."""

    record: Record
    located: Located | None
    clean: Share
    worst: Share | None
    cards: tuple[Card, ...]
    findings: tuple[Finding, ...]
    checks: tuple[tuple[str, Check], ...]  # the rule's title, and what came of it; worst first
    commands: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    link: str | None  # to the paper
    made: tuple[tuple[str, str], ...]


def share(found: Interval) -> Share:
    """An interval, ready to be drawn."""
    value, low, high = (100 * part for part in (found.value, found.low, found.high))
    return Share(
        value=f"{value:.1f}",
        low=f"{low:.1f}",
        high=f"{high:.1f}",
        count=found.count,
        n=found.n,
        left=round(low, 2),
        width=round(high - low, 2),
        at=round(value, 2),
    )


def board_views(records: Sequence[Record], published: Sequence[Published] = ()) -> list[BoardView]:
    """Every board that these records make, in order; published rows where data and budget are theirs."""
    views: list[BoardView] = []
    for group in by_setting(records):
        place = setting(group[0])
        stem = place.stem
        if any(view.stem == stem for view in views):
            stem = f"{stem}-n{place.n}"
        if any(view.stem == stem for view in views):
            stem = f"{stem}-{group[0].data_digest}"
        views.append(_board(stem, place, group, published))
    return views


def record_view(record: Record, located: Located | None) -> RecordView:
    """Everything about one record."""
    record = for_others(record)
    order = ("block", "warn", "open", "info", "pass")
    checks = sorted(record.audit, key=lambda check: (order.index(check.verdict), check.rule))
    return RecordView(
        record=record,
        located=located,
        clean=share(record.clean),
        worst=share(record.worst_case) if record.worst_case else None,
        cards=_cards(record),
        findings=record.findings,
        checks=tuple((RULES[check.rule].title if check.rule in RULES else "", check) for check in checks),
        commands=tuple(reproduce(record)),
        facts=_facts(record),
        link=link(record.defense),
        made=_made(record),
    )


def _board(stem: str, place: Setting, group: Sequence[Record], published: Sequence[Published]) -> BoardView:
    table = boards.board(group, published)
    shown = [
        (number, column)
        for number, column in enumerate(table.columns)
        if not column.only_csv and column.name not in LEFT_OUT
    ]
    measured = [cells for number, cells in enumerate(table.rows) if number not in table.quiet]
    quiet = [cells for number, cells in enumerate(table.rows) if number in table.quiet]
    fitting = [row for row in published if row.fits(place)]  # in the order of the board
    return BoardView(
        stem,
        place,
        tuple(in_order(map(suite_label, group))),
        tuple(_head(column) for _, column in shown),
        tuple(_measured(table, cells, shown, group) for cells in measured),
        tuple(
            _published(row, f"published {number} {row.id}", table, cells, shown)
            for number, (row, cells) in enumerate(zip(fitting, quiet, strict=True), start=1)
        ),
        table.notes,
    )


def _head(column: TableColumn) -> Head:
    return Head(
        column.title, column.name, column.kind is not ColumnKind.TEXT, spent=column.dispensable >= _SPENT
    )


def _measured(table: Table, cells: _Cells, shown: _Shown, group: Sequence[Record]) -> PageRow:
    by_id = {record.run_id: record for record in group}
    ids = str(_cell(table, cells, "records")).split(", ")
    held = {suite_label(by_id[run_id]): by_id[run_id] for run_id in ids}
    first = next(iter(held.values()))
    several = sum(other.defense == first.defense for other in group) > len(held)
    told = (first.defense, f"seed {first.seed}" if several else None, first.trained_at)
    findings = _cell(table, cells, "findings")
    lowest = _cell(table, cells, "lowest")
    return PageRow(
        key=first.run_id,
        name=", ".join(part for part in told if part),
        places=tuple(_place(column, cells[number], held) for number, column in shown),
        records=held,
        findings=tuple(str(findings).split(", ")) if findings else (),
        lowest=lowest if isinstance(lowest, float) else None,
    )


def _published(row: Published, key: str, table: Table, cells: _Cells, shown: _Shown) -> PageRow:
    lowest = _cell(table, cells, "lowest")
    return PageRow(
        key=key,
        name=row.id,
        places=tuple(_place(column, cells[number], {}) for number, column in shown),
        records={},
        findings=(),
        lowest=lowest if isinstance(lowest, float) else None,
        published=row,
    )


def _cell(table: Table, cells: _Cells, name: str) -> Cell:
    return cells[[column.name for column in table.columns].index(name)]


def _place(column: TableColumn, cell: Cell, held: Mapping[str, Record]) -> Rank:
    suite = held.get(column.name)
    href = f"../records/{suite.run_id}.html" if suite else None
    if isinstance(cell, Interval):
        return Rank("", f"{cell.value:.6f}", share(cell), href)
    if isinstance(cell, Marked) and not held:  # published by others: what a file links to may be anything
        safe = cell.link if cell.link and cell.link.startswith(WEB) else None
        return Rank(cell.text, cell.text, None, safe)
    if isinstance(cell, Marked):
        lowest = min(held.values(), key=lambda record: record.worst_case.value if record.worst_case else 2.0)
        return Rank(cell.text, cell.text, None, f"../records/{lowest.run_id}.html", cell.mark.strip())
    text = "" if cell is None and not held else read_cell(column, cell)
    order = "" if cell is None else f"{cell}" if isinstance(cell, (int, float)) else text
    return Rank(text, order, None, href)


def _cards(record: Record) -> tuple[Card, ...]:
    """The attackers of a record, from those who see most to those who see least."""
    told = {trial["column"]: trial["knowledge"] for trial in record.spec.get("suite", {}).get("trials", ())}
    cards: dict[str, list[Column]] = {}
    for column in record.columns:
        cards.setdefault(column.knowledge, []).append(column)
    found = []
    for label, columns in cards.items():
        knowledge: Mapping[str, Any] = told.get(columns[0].name, {})
        limit = knowledge.get("max_queries")
        answers = str(knowledge.get("feedback", "not recorded"))
        trials = tuple(
            (column, share(column.robust) if column.robust else None, note(column)) for column in columns
        )
        found.append(
            Card(
                label=label,
                means=str(knowledge.get("means", "")),
                gradients=str(knowledge.get("gradients", "not recorded")),
                answers=answers if limit is None else f"{answers}, at most {limit:,} queries for each image",
                trials=trials,
            )
        )
    return tuple(found)


def _facts(record: Record) -> tuple[tuple[str, str], ...]:
    facts = [
        ("paper", record.paper),
        ("suite", f"{record.suite}{f' (custom: {record.why_custom})' if record.custom else ''}"),
        ("data", f"{record.data}, {record.examples:,} test images (digest {record.data_digest})"),
        ("budget", record.budget),
        ("architecture", record.architecture),
        ("seed", str(record.seed)),
    ]
    if record.traits:
        facts.append(("made of", ", ".join(record.traits)))
    if record.draws > 1:
        facts.append(("verdicts", f"the most frequent of {record.draws} answers to each image"))
    trained = record.training
    if trained:
        facts += [("parameters", f"{trained.parameters:,}"), ("recipe", record.recipe)]
        if without := untrained(trained):
            facts.append(("weights", without))
        else:
            facts += [
                ("checkpoint", f"{trained.checkpoint}, epoch {trained.epoch} of {trained.epochs}"),
                ("trained in", f"{trained.seconds:,.0f} s"),
            ]
    claim = claim_of(record)
    if claim:
        who = "by its authors" if claim.kind == "claimed" else "by others"
        said = f"{100 * claim.robust:.1f} % under {claim.attack} on {claim.architecture}, {claim.kind} {who}"
        facts.append(("published", f"{said} ({claim.source}): other weights, often another network"))
    return tuple((name, value) for name, value in facts if value)


def _made(record: Record) -> tuple[tuple[str, str], ...]:
    made, trained, kept = record.provenance, record.training, record.evidence
    dirty = {True: ", with uncommitted changes", False: "", None: ""}[made.dirty]
    found = [
        ("run", record.run_id),
        ("bench", made.version),
        ("commit", f"{made.commit or 'unknown'}{dirty}"),
        ("started", made.started),
        ("took", f"{made.seconds:,.0f} s"),
        ("device", made.device),
        ("threads", "not recorded" if made.threads is None else str(made.threads)),
        ("packages", _locked(made)),
        ("Python", made.python),
        *((name, version) for name, version in sorted(made.packages.items())),
    ]
    if trained:
        found += [("training", trained.training_id), ("weights' SHA-256", trained.sha256)]
        found += [(f"parent, {role}", training) for role, training in sorted(trained.parents.items())]
    if kept:
        found += [
            (kept.file, f"{kept.images:,} adversarial images"),
            ("their SHA-256", kept.sha256),
            ("scored again from the file", _read(kept.again)),
            ("rounded to 8 bits", _read(kept.rounded)),
        ]
    return tuple(found)


def _locked(made: Provenance) -> str:
    if made.lock is None:
        return "made before there was a lock"
    return f"lock {made.lock}{', but ' if made.unlocked else ''}{', '.join(made.unlocked)}"


def _read(found: Interval) -> str:
    held = share(found)
    return f"{held.value} [{held.low}, {held.high}] %"
