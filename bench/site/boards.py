"""What the pages show of boards: methods over their seeds, and each training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench import __version__
from bench.records.claims import claim_of
from bench.records.record import Record
from bench.report import board as boards
from bench.report.bibliography import bibtex_of, paper_of, software_bibtex
from bench.report.exchange import AUTOATTACK, Published
from bench.report.latex_tables import board_latex
from bench.report.methods import by_method, ranked
from bench.report.names import told_apart
from bench.report.over_seeds import OverSeeds
from bench.report.render import WEB, Marked, Table, csv
from bench.report.rows import BoardRow, rows_of
from bench.report.setting import Setting, by_setting, in_order, setting, suite_label
from bench.report.significance import LEVEL
from bench.site.board_view import (
    BEST_KNOWN,
    CLEAN,
    COSTS,
    LOWEST,
    PUBLISHED,
    RANKED,
    BoardView,
    Head,
    NotRun,
    PageCell,
    PageMethod,
    PageRow,
)
from bench.site.bold import Bold, tested
from bench.site.cells import anchor, cell_of, claim_cell, mean_cell, page_of, suite_cell
from bench.site.commands import command_under
from bench.site.shares import alone


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
    table = boards.board(group, published, means=False)
    heads = _heads(suites, trainings, bool(published))
    bold, silent = tested(trainings, suites)
    marks = _marks(table)
    methods = by_method(trainings)
    names = _names(trainings)
    views = [_method(rank, method, heads, marks, bold, names) for rank, method in ranked(methods)]
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
        _downloads(group, published),
    )


def _downloads(group: Sequence[Record], published: Sequence[Published]) -> dict[str, str]:
    """The board for scripts, papers and bibliographies, by the ending of a file's name."""
    plain = json.dumps(boards.as_values(group, published), indent=1, ensure_ascii=False, allow_nan=False)
    return {
        "csv": csv(boards.board(group, published)),
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


def _method(
    rank: int,
    method: Sequence[BoardRow],
    heads: Sequence[Head],
    marks: Mapping[str, str],
    bold: Bold,
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
    row: BoardRow, heads: Sequence[Head], marks: Mapping[str, str], bold: Bold, names: Mapping[str, str]
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
        href=page_of(lowest),
        about=" · ".join(part for part in told if part),
        cells=tuple(cell_of(head, row, held, bold) for head in heads),
        records=held,
        findings=tuple(row.codes),
        lowest=row.lowest,
    )


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
            claim_cell(first, lowest) if head.name == PUBLISHED else mean_cell(cells)
            for head, cells in columns
        ),
        records={},
        findings=tuple(sorted({code for row in rows for code in row.findings})),
        lowest=lowest,
    )


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


def _how_to_read(methods: Sequence[Sequence[BoardRow]], bold: Bold) -> Iterator[str]:
    if any(len(method) > 1 for method in methods):
        yield (
            "of several seeds: mean ± standard deviation of the sample; their method is ranked by the mean"
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
            cell = suite_cell(suite, row, _under(row, suite), {suite: frozenset()})
            if cell.state == "not run":
                command = "" if "~" in suite else command_under(row.first, suite)
                yield NotRun(anchor(row, suite), row.name, suite, command)


def _under(row: BoardRow, suite: str) -> Record | None:
    return next((record for record in row.records if suite_label(record) == suite), None)


def _marks(table: Table) -> dict[str, str]:
    """Run -> the signs behind its defense, as the notes of the board explain them."""
    names = [column.name for column in table.columns]
    found: dict[str, str] = {}
    for cells in table.rows:
        row = dict(zip(names, cells, strict=True))
        if isinstance(defense := row["defense"], Marked):
            found |= dict.fromkeys(str(row["records"]).split(", "), defense.mark.strip())
    return found
