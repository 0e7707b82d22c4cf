"""What the pages show of boards, as plain values: methods over their seeds, and each training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench import __version__
from bench.core.listing import listing
from bench.core.threat import format_eps
from bench.errors import BadValue
from bench.records.claims import claim_of
from bench.records.record import Interval, Record
from bench.records.verdicts import worst_case_of
from bench.report import board as boards
from bench.report.bibliography import bibtex_of, paper_of, software_bibtex
from bench.report.exchange import AUTOATTACK, Published
from bench.report.latex_tables import board_latex
from bench.report.names import told_apart
from bench.report.over_seeds import OverSeeds
from bench.report.render import WEB, Marked, Table, csv
from bench.report.rows import BoardRow, rows_of
from bench.report.setting import Setting, by_setting, in_order, setting, suite_label
from bench.report.significance import LEVEL, best, best_records
from bench.site.commands import command_under
from bench.site.shares import Share, alone, over_seeds, share

State = Literal["known", "not run", "not owed", "unknown"]

RANKED, CLEAN, LOWEST, BEST_KNOWN, PUBLISHED = "ranked", "clean", "lowest", "best_known", "published"
"""Columns that are no suites, by the names that CSV has for them."""

COSTS: Mapping[str, str] = {
    "parameters": "parameters",
    "forwards": "forwards",
    "backwards": "backwards",
    "seconds": "seconds",
    "training_seconds": "training s",
}
"""Columns that are shown on demand -> their titles."""


@dataclass(frozen=True)
class Head:
    """One column of a board behind rank and name; all of them hold numbers."""

    title: str
    name: str
    told: str = ""  # what it holds, in words
    is_suite: bool = False
    spent: bool = False  # a cost, shown on demand


@dataclass(frozen=True)
class PageCell:
    """One number of a board, or why there is none."""

    order: str = ""  # what it is sorted by; empty: last, either way
    share: Share | None = None
    text: str = ""
    href: str | None = None
    state: State = "known"
    bold: bool = False


@dataclass(frozen=True)
class PageRow:
    """One training on a board, with its records by suite; or what others published, without any."""

    key: str
    name: str  # that tells it from every other row
    defense: str
    mark: str
    href: str | None
    about: str  # architecture, seed, and the radius in training where it is another
    cells: tuple[PageCell, ...]
    records: Mapping[str, Record]
    findings: tuple[str, ...]  # as the board shows them: of records, of audits, of all suites together
    lowest: float | None  # the lowest share that is known
    published: Published | None = None


@dataclass(frozen=True)
class PageMethod:
    """The trainings that differ in their seed alone."""

    rank: int
    paper: str  # who and what
    venue: str  # and year; empty: not known apart
    link: str | None
    mean: PageRow | None  # over its seeds; None: it has one
    rows: tuple[PageRow, ...]

    @property
    def head(self) -> PageRow:
        """What stands for it."""
        return self.mean or self.rows[0]


@dataclass(frozen=True)
class NotRun:
    """A suite that a training was not put under."""

    anchor: str
    name: str
    suite: str
    command: str


@dataclass(frozen=True)
class BoardView:
    """One board."""

    stem: str
    place: Setting
    suites: tuple[str, ...]
    heads: tuple[Head, ...]
    methods: tuple[PageMethod, ...]
    others: tuple[PageRow, ...]  # published ones, never ranked
    notes: tuple[str, ...]
    not_run: tuple[NotRun, ...]
    weight: int  # verdicts behind it: images of each record, all together
    downloads: Mapping[str, str]  # the ending of a file -> its text

    @property
    def budget(self) -> str:
        """Norm and radius."""
        return f"{self.place.norm} {format_eps(self.place.eps)}"

    @property
    def rows(self) -> list[PageRow]:
        """Every training, in the order of methods."""
        return [row for method in self.methods for row in method.rows]

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


def board_views(records: Sequence[Record], published: Sequence[Published] = ()) -> list[BoardView]:
    """Every board that these records make, those behind which most was measured first.

    Published rows stand where data and budget are theirs.
    """
    views: dict[str, BoardView] = {}
    for group in by_setting(records):
        place = setting(group[0])
        stem = place.stem
        if stem in views:
            stem = f"{stem}-n{place.n}"
        if stem in views:
            stem = f"{stem}-{group[0].data_digest}"
        views[stem] = _board(stem, place, group, [row for row in published if row.fits(place)])
    return sorted(views.values(), key=lambda view: (-view.weight, view.stem))


def _board(stem: str, place: Setting, group: Sequence[Record], published: Sequence[Published]) -> BoardView:
    suites = in_order(map(suite_label, group))
    trainings = rows_of(group, suites)
    table = boards.board(group, published)
    heads = _heads(suites, trainings, bool(published))
    bold, silent = _tested(trainings, suites)
    marks = _marks(table)
    methods = _by_method(trainings)
    names = _names(trainings)
    views = [_method(rank, method, heads, marks, bold, names) for rank, method in _ranked(methods)]
    return BoardView(
        stem,
        place,
        tuple(suites),
        heads,
        tuple(views),
        tuple(_published(row, number, heads) for number, row in enumerate(published, start=1)),
        (*_how_to_read(methods, bold), *silent, *table.notes),
        tuple(_not_run(trainings, suites)),
        sum(record.examples for record in group),
        _downloads(group, published, table),
    )


def _downloads(group: Sequence[Record], published: Sequence[Published], table: Table) -> dict[str, str]:
    """The board for scripts, papers and bibliographies, by the ending of a file's name."""
    plain = json.dumps(boards.as_values(group, published), indent=1, ensure_ascii=False, allow_nan=False)
    return {
        "csv": csv(table),
        "json": f"{plain}\n",
        "tex": board_latex(group, wide=True, published=published),
        "bib": f"{software_bibtex(__version__)}\n{bibtex_of(group)}",
    }


def _heads(suites: Sequence[str], rows: Sequence[BoardRow], with_published: bool) -> tuple[Head, ...]:
    """The number that ranks comes first; a board of one suite needs no second column for it."""
    found = [
        Head("robust", RANKED, f"what the rank is by{f': {suites[0]}' if len(suites) == 1 else ''}"),
        Head("clean", CLEAN, "before any attack"),
    ]
    several = suites if len(suites) > 1 else []
    found += [Head(suite, suite, "in the worst case of this suite", is_suite=True) for suite in several]
    if with_published and AUTOATTACK not in suites:
        found.append(Head(AUTOATTACK, AUTOATTACK, "as others published it", is_suite=True))
    if any(row.met_more for row in rows) or with_published:
        found.append(Head("lowest", LOWEST, "the lowest number known, from suites that few met, too"))
    if any(record.imported for row in rows for record in row.records):
        found.append(Head("best known", BEST_KNOWN, "with images that others made"))
    if any(claim_of(row.first) for row in rows):
        found.append(Head("published", PUBLISHED, "and what was measured here less that, in points"))
    return (*found, *(Head(title, name, "a cost", spent=True) for name, title in COSTS.items()))


def _by_method(rows: Sequence[BoardRow]) -> list[list[BoardRow]]:
    """The trainings that differ in their seed alone, together; a seed that came twice stands alone."""
    found: dict[tuple[str, str, str], list[BoardRow]] = {}
    for row in rows:
        found.setdefault((row.first.defense, row.first.architecture, row.first.recipe), []).append(row)
    return [
        part
        for group in found.values()
        for part in ([group] if _differ_in_seed(group) else [[row] for row in group])
    ]


def _differ_in_seed(group: Sequence[BoardRow]) -> bool:
    return len({row.first.seed for row in group}) == len(group)


def _ranked(methods: Sequence[list[BoardRow]]) -> Iterator[tuple[int, list[BoardRow]]]:
    """Methods by the mean of what ranks them, from 1; equal ones share a rank, incomplete ones come last."""
    scored = [(_score(method), method[0].order, method) for method in methods]
    rank, before = 0, None
    for place, (score, _, method) in enumerate(sorted(scored, key=lambda held: held[:2]), start=1):
        rank, before = (rank if score == before else place), score
        yield rank, method


def _score(method: Sequence[BoardRow]) -> tuple[bool, float]:
    ranked = [row.ranked for row in method if row.ranked is not None]
    return any(row.missing for row in method), -round(OverSeeds.of(ranked).value, 9) if ranked else 1.0


def _method(
    rank: int,
    method: Sequence[BoardRow],
    heads: Sequence[Head],
    marks: Mapping[str, str],
    bold: _Bold,
    names: Mapping[str, str],
) -> PageMethod:
    several = len(method) > 1
    rows = tuple(_measured(row, heads, marks, bold, names) for row in method)
    first, paper = method[0].first, paper_of(method[0].first.defense)
    return PageMethod(
        rank,
        f"{paper.who}, {paper.title}" if paper else first.paper,
        paper.where if paper else "",
        paper.link if paper else None,
        _mean(rows, method, heads) if several else None,
        rows,
    )


def _names(rows: Sequence[BoardRow]) -> dict[str, str]:
    """First run -> the name of its training, which no other row of the board has."""
    first = [row.first for row in rows]
    names = told_apart(
        [", ".join(part for part in (record.defense, record.trained_at) if part) for record in first],
        [f", {record.architecture}" for record in first],
        [f", {record.recipe}" for record in first],
        [f", seed {record.seed}" for record in first],
        [f", {record.run_id}" for record in first],
    )
    return {record.run_id: name for record, name in zip(first, names, strict=True)}


def _measured(
    row: BoardRow, heads: Sequence[Head], marks: Mapping[str, str], bold: _Bold, names: Mapping[str, str]
) -> PageRow:
    first = row.first
    by_suite = {suite_label(record): record for record in row.records}
    held = {suite: by_suite[suite] for suite in in_order(by_suite)}
    lowest = min(row.records, key=lambda record: record.worst_case.value if record.worst_case else 2.0)
    told = (first.architecture, f"seed {first.seed}", first.trained_at)
    return PageRow(
        key=first.run_id,
        name=names[first.run_id],
        defense=first.defense,
        mark=marks.get(first.run_id, ""),
        href=_page(lowest),
        about=" · ".join(part for part in told if part),
        cells=tuple(_cell(head, row, held, bold) for head in heads),
        records=held,
        findings=tuple(row.codes),
        lowest=row.lowest,
    )


def _cell(head: Head, row: BoardRow, held: Mapping[str, Record], bold: _Bold) -> PageCell:
    """One number of a training."""
    if head.is_suite:
        return _suite_cell(head.name, row, held.get(head.name), bold)
    if head.spent:
        return _cost_cell(_cost(head.name, row))
    if head.name == PUBLISHED:
        return _claim_cell(row.first, row.lowest)
    value: Callable[[], Interval | float | None] = {
        CLEAN: lambda: row.first.clean,
        RANKED: lambda: _interval(row, row.ranked),
        LOWEST: lambda: _interval(row, row.lowest),
        BEST_KNOWN: lambda: row.best_known,
    }[head.name]
    found = value()
    is_bold = head.name == RANKED and row.first.run_id in bold[RANKED]
    return _share_cell(found, _page(row.first) if head.name == CLEAN else None, is_bold)


def _suite_cell(suite: str, row: BoardRow, record: Record | None, bold: _Bold) -> PageCell:
    found = row.worst.get(suite)
    if found is not None and record is not None:
        return _share_cell(found[0], _page(record), record.run_id in bold[suite])
    if record is not None:
        return PageCell(text="unknown", href=_page(record), state="unknown")
    if listing(suite).asked_of == "owing" and row.adaptive == "not needed":
        return PageCell(text="not owed", state="not owed")
    return PageCell(text="not run", href=f"#{_anchor(row, suite)}", state="not run")


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


def _claim_cell(record: Record, lowest: float | None) -> PageCell:
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


def _mean(rows: Sequence[PageRow], method: Sequence[BoardRow], heads: Sequence[Head]) -> PageRow:
    """The row of a method: mean and deviation of each column over its seeds."""
    first = method[0].first
    told = (first.architecture, f"mean of {len(rows)} seeds", first.trained_at)
    known = [row.lowest for row in rows if row.lowest is not None]
    lowest = OverSeeds.of(known).value if known else None
    columns = zip(heads, zip(*(row.cells for row in rows), strict=True), strict=True)
    return replace(
        rows[0],
        key="",
        name=first.defense,
        href=None,
        about=" · ".join(part for part in told if part),
        cells=tuple(
            _claim_cell(first, lowest) if head.name == PUBLISHED else _mean_cell(cells)
            for head, cells in columns
        ),
        records={},
        findings=tuple(sorted({code for row in rows for code in row.findings})),
        lowest=lowest,
    )


def _mean_cell(cells: Sequence[PageCell]) -> PageCell:
    """Mean and deviation; a reason that all seeds share is theirs in common."""
    values = [float(cell.order) for cell in cells if cell.order]
    if not values:
        return cells[0] if all(cell.state == cells[0].state for cell in cells) else PageCell()
    found = OverSeeds.of(values, len(cells))
    if all(cell.share is None for cell in cells):
        return PageCell(f"{found.value}", text=f"{found.value:,.0f}")
    return PageCell(f"{found.value:.6f}", over_seeds(found))


def _published(row: Published, number: int, heads: Sequence[Head]) -> PageRow:
    """A row of somebody else's: figures in percent, without intervals."""
    known = {CLEAN: row.clean, AUTOATTACK: row.autoattack, LOWEST: row.robust}
    values = {name: None if percent is None else percent / 100 for name, percent in known.items()}
    lowest = values[LOWEST]
    cells = [
        PageCell() if (value := values.get(head.name)) is None else PageCell(f"{value:.6f}", alone(value))
        for head in heads
    ]
    return PageRow(
        key=f"published {number} {row.id}",
        name=row.id,
        defense=row.id,
        mark="",
        href=row.link if row.link and row.link.startswith(WEB) else None,  # a file's link may be anything
        about=row.architecture or "",
        cells=tuple(cells),
        records={},
        findings=(),
        lowest=lowest,
        published=row,
    )


_Bold = Mapping[str, frozenset[str]]
"""Column -> the runs whose number may be bold; of the column that ranks, the first run of each training."""


def _tested(rows: Sequence[BoardRow], suites: Sequence[str]) -> tuple[_Bold, list[str]]:
    """Who may be bold in each column, and why nobody is."""
    bold: dict[str, frozenset[str]] = {}
    silent: list[str] = []
    for suite in suites:
        met = [record for row in rows for record in row.records if suite_label(record) == suite]
        bold[suite], why = _allowed(met)
        silent += [f"nothing is bold under {suite}: {why}"] if why else []
    bold[RANKED] = _best_ranked(rows)
    return bold, silent


def _allowed(records: Sequence[Record]) -> tuple[frozenset[str], str | None]:
    """The runs that are not worse than the highest beyond chance; or nobody, and why."""
    if len(records) < 2:
        return frozenset(), None
    try:
        found = best_records(records)
    except BadValue as error:
        return frozenset(), error.message
    if found.untested:
        return frozenset(), f"{len(found.untested)} of {len(records)} do not say which images they kept"
    if len(found.rows) == len(records):
        return frozenset(), "no row is worse than another beyond chance"
    return found.rows, None


def _best_ranked(rows: Sequence[BoardRow]) -> frozenset[str]:
    """The same of the numbers that rank, each from the suite that it is the worst case of."""
    behind = {row.first.run_id: _behind(row) for row in rows}
    known = [record for record in behind.values() if record is not None]
    ids = {record.robust_examples.ids for record in known if record.robust_examples}
    if len(known) < len(rows) or len(ids) != 1:
        return frozenset()
    found = best({key: worst_case_of(record) for key, record in behind.items() if record is not None})
    return frozenset() if found.untested or len(found.rows) == len(rows) else found.rows


def _behind(row: BoardRow) -> Record | None:
    """The record whose worst case a training is ranked by; None: it is ranked by images of others."""
    return next((r for r in row.records if r.worst_case and r.worst_case.value == row.ranked), None)


def _how_to_read(methods: Sequence[Sequence[BoardRow]], bold: _Bold) -> Iterator[str]:
    if any(len(method) > 1 for method in methods):
        yield (
            "of several seeds: mean ± standard deviation of the sample; their method is ranked here by the "
            "mean, each training alone in the CSV"
        )
    if any(bold.values()):
        yield (
            "bold: not worse than the highest of its column beyond chance (exact McNemar tests on the same "
            f"images, Holm over the rows, p < {LEVEL:g}); these tests speak of weights, not of methods"
        )
    yield "bars begin at 0; their dark ends are 95 % Wilson intervals, of means one standard deviation"


def _not_run(rows: Sequence[BoardRow], suites: Sequence[str]) -> Iterator[NotRun]:
    """What was left out, with the command that runs it; a custom suite has no name to type."""
    for row in rows:
        for suite in suites:
            cell = _suite_cell(suite, row, _under(row, suite), {suite: frozenset()})
            if cell.state == "not run":
                command = "" if "~" in suite else command_under(row.first, suite)
                yield NotRun(_anchor(row, suite), row.name, suite, command)


def _under(row: BoardRow, suite: str) -> Record | None:
    return next((record for record in row.records if suite_label(record) == suite), None)


def _anchor(row: BoardRow, suite: str) -> str:
    safe = "".join(sign if sign.isalnum() else "-" for sign in suite)
    return f"not-run-{row.first.run_id}-{safe}"


def _page(record: Record) -> str:
    return f"../records/{record.run_id}.html"


def _marks(table: Table) -> dict[str, str]:
    """Run -> the signs behind its defense, as the notes of the board explain them."""
    names = [column.name for column in table.columns]
    found: dict[str, str] = {}
    for cells in table.rows:
        row = dict(zip(names, cells, strict=True))
        if isinstance(defense := row["defense"], Marked):
            found |= dict.fromkeys(str(row["records"]).split(", "), defense.mark.strip())
    return found
