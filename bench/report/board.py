"""Boards: the defenses of many records, ranked by what they keep in the worst case over shared suites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from bench.core.threat import format_eps
from bench.errors import BadValue
from bench.records.claims import Claim, claim_of, link
from bench.records.record import Record
from bench.report.exchange import AUTOATTACK, Published
from bench.report.footnotes import footnotes
from bench.report.methods import by_method, ranked, together
from bench.report.over_seeds import OverSeeds
from bench.report.render import Cell, ColumnKind, Marked, Table, TableColumn, csv, markdown, values
from bench.report.rows import BoardRow, ranks_of, rows_of
from bench.report.setting import by_setting, distinct, in_order, setting, shared, suite_label


def board(
    records: Sequence[Record],
    published: Sequence[Published] = (),
    balanced: bool = False,
    means: bool = True,
) -> Table:
    """Rank trainings by their worst case over the suites that most of them met; who lacks one ranks last.

    Several seeds of a method stand below a row of their means, which has the rank; without `means` each
    training is ranked by itself. Rows that others published for the same data and budget stand below,
    without a rank. `balanced` adds the mean over classes, which ranks nothing.

    Raises BadValue for records that do not share data, norm, eps and n, and for two records of one training
    under one suite.
    """
    place = shared(records)
    others = [row for row in published if row.fits(place)]
    met = in_order(map(suite_label, records))
    suites = in_order([*met, *([AUTOATTACK] if others else [])])
    lowest = len(suites) > 1
    rows = rows_of(distinct(records), met)
    claims = {row.first.defense: claim for row in rows if (claim := claim_of(row.first)) is not None}
    marks = _marks(rows)
    columns = _columns(suites, rows, lowest, claimed=bool(claims))
    if balanced:
        columns = _with_balanced(columns)

    def cells_of(row: BoardRow, rank: int | None) -> dict[str, Cell]:
        return _cells(row, rank, marks, claims.get(row.first.defense))

    of_seeds: tuple[str, ...]
    methods = list(ranked(by_method(rows))) if means else []
    if any(len(method) > 1 for _, method in methods):
        columns = _with_deviations(columns)
        cells = [held for rank, method in methods for held in _of_method(method, rank, cells_of)]
        of_seeds = (_OF_SEEDS,)
    else:
        cells = [cells_of(row, rank) for row, rank in zip(rows, ranks_of(rows), strict=True)]
        of_seeds = ()
    measured = len(cells)
    cells += [_published(row) for row in others]
    return Table(
        place.label,
        columns,
        tuple(tuple(held.get(column.name) for column in columns) for held in cells),
        notes=(
            *footnotes(rows, met, marks, claims, bool(others)),
            *of_seeds,
            *(_BALANCED if balanced else ()),
        ),
        quiet=frozenset(range(measured, len(cells))),
    )


def board_files(
    records: Sequence[Record], local: bool = False, published: Sequence[Published] = ()
) -> dict[str, str]:
    """File name -> content of all boards that these records make; the same records, the same bytes.

    Where several numbers of examples share data and budget, the largest has the plain name; where different
    images share a name, each board's name ends with their digest.
    """
    groups = by_setting(records)
    largest: dict[str, int] = {}
    for group in groups:
        place = setting(group[0])
        largest[place.stem] = max(largest.get(place.stem, 0), place.n)
    files: dict[str, str] = {}
    for group in groups:
        place = setting(group[0])
        stem = place.stem if place.n == largest[place.stem] else f"{place.stem}-n{place.n}"
        if sum(setting(other[0]) == place for other in groups) > 1:
            stem = f"{stem}-{group[0].data_digest}"
        if f"{stem}.md" in files:
            raise BadValue(
                f"two data sets would share the board {stem}.md, one of them {place.data!r}, "
                "expected names that differ in their letters"
            )
        table = board(group, published)
        files[f"{stem}.md"] = markdown(table, origin(group, local))
        files[f"{stem}.csv"] = csv(table)
    return files


def as_values(
    records: Sequence[Record], published: Sequence[Published] = (), balanced: bool = False
) -> dict[str, object]:
    """A board for scripts: its rows have CSV's names, shares are fractions, what is not known is None."""
    table, place = board(records, published, balanced), setting(records[0])
    return {
        "data": place.data,
        "norm": place.norm,
        "eps": format_eps(place.eps),
        "n": place.n,
        "suites": in_order(map(suite_label, records)),
        "rows": values(table),
        "notes": list(table.notes),
    }


def origin(records: Sequence[Record], local: bool = False) -> str:
    """From which records a board was made, for its first line."""
    versions = ", ".join(sorted({record.provenance.version for record in records}))
    ids = ", ".join(record.run_id for record in records)
    return f"{'local board, not published: ' if local else ''}bench {versions}, from records {ids}"


def _columns(
    suites: Sequence[str], rows: Sequence[BoardRow], lowest: bool, claimed: bool
) -> tuple[TableColumn, ...]:
    """CSV has all of them on every board; docs/boards.md says what they hold."""
    imported = any(record.imported for row in rows for record in row.records)
    apart = any(row.ranked != row.lowest for row in rows)
    trained_otherwise = any(row.first.trained_at for row in rows)
    of_suites = []
    for suite in suites:
        of_suites += [
            TableColumn(f"{suite} worst case %", suite, ColumnKind.INTERVAL, spare=True),
            TableColumn(f"{suite} worst column", f"{suite}_column", only_csv=True),
        ]
    return (
        TableColumn("rank", "rank", ColumnKind.COUNT),
        TableColumn("defense", "defense"),
        TableColumn("origin", "origin", only_csv=True),
        TableColumn("paper", "paper", only_csv=True),
        TableColumn("link", "link", only_csv=True),
        TableColumn("reconstruction", "reconstruction", only_csv=True),
        TableColumn("adaptive", "adaptive", only_csv=True),
        TableColumn("architecture", "architecture", dispensable=3),
        TableColumn("trained at", "trained_at", only_csv=not trained_otherwise, dispensable=1),
        TableColumn("parameters", "parameters", ColumnKind.COUNT, dispensable=7),
        TableColumn("clean %", "clean", ColumnKind.INTERVAL),
        *of_suites,
        TableColumn("best known %", "best_known", ColumnKind.INTERVAL, only_csv=not imported),
        TableColumn("ranked by %", "ranked", ColumnKind.SHARE, only_csv=not apart),
        TableColumn("lowest %", "lowest", ColumnKind.SHARE, only_csv=not lowest),
        TableColumn("published %", "published", ColumnKind.SHARE, only_csv=not claimed, dispensable=3),
        TableColumn(
            "difference", "published_difference", ColumnKind.POINTS, only_csv=not claimed, dispensable=3
        ),
        TableColumn("published by", "published_by", only_csv=True),
        TableColumn("published attack", "published_attack", only_csv=True),
        TableColumn("published architecture", "published_architecture", only_csv=True),
        TableColumn("published source", "published_source", only_csv=True),
        TableColumn("findings", "findings", dispensable=1),
        TableColumn("seed", "seed", ColumnKind.COUNT),
        TableColumn("n", "n", ColumnKind.COUNT, dispensable=9),
        TableColumn("forwards", "forwards", ColumnKind.NUMBER, dispensable=4),
        TableColumn("backwards", "backwards", ColumnKind.NUMBER, dispensable=6),
        TableColumn("seconds", "seconds", ColumnKind.NUMBER, dispensable=5),
        TableColumn("recipe", "recipe", only_csv=True),
        TableColumn("training seconds", "training_seconds", ColumnKind.NUMBER, dispensable=8),
        TableColumn("records", "records", dispensable=2),
    )


_BALANCED = (
    "balanced: the lowest mean of the robust accuracies of all classes over the suites that count; nothing "
    "is ranked by it, and records that were made before classes were counted have none",
)


def _with_balanced(columns: tuple[TableColumn, ...]) -> tuple[TableColumn, ...]:
    """The columns with balanced accuracy behind the last worst case."""
    place = [column.name for column in columns].index("best_known")
    return (*columns[:place], TableColumn("balanced %", "balanced", ColumnKind.INTERVAL), *columns[place:])


_OF_SEEDS = (
    "of several seeds: mean ± standard deviation of the sample, and each seed below; methods are ranked by "
    "the mean, a seed by itself has no rank"
)


def _with_deviations(columns: tuple[TableColumn, ...]) -> tuple[TableColumn, ...]:
    """The columns with the standard deviation behind each share, and the number of seeds, for CSV alone."""
    found: list[TableColumn] = []
    for column in columns:
        found.append(column)
        if column.kind is ColumnKind.INTERVAL or column.name in ("ranked", "lowest"):
            found.append(TableColumn("", f"{column.name}{DEVIATION}", ColumnKind.NUMBER, only_csv=True))
        if column.name == "seed":
            found.append(TableColumn("seeds", "seeds", ColumnKind.COUNT, only_csv=True))
    return tuple(found)


DEVIATION = "_sd"
"""What the name of a column of standard deviations ends with, in CSV."""


def _of_method(
    method: Sequence[BoardRow], rank: int, cells_of: Callable[[BoardRow, int | None], dict[str, Cell]]
) -> Iterator[dict[str, Cell]]:
    """The row of a training; of several seeds their mean first, then each without a rank."""
    if len(method) == 1:
        yield cells_of(method[0], rank)
        return
    seeds = [cells_of(row, None) for row in method]
    yield {**_mean(seeds), "rank": rank}
    yield from seeds


def _mean(seeds: Sequence[Mapping[str, Cell]]) -> dict[str, Cell]:
    """The row of a method, told from those of its seeds by its origin and behind its name."""
    found = together(seeds)
    told = found["defense"]
    assert isinstance(told, Marked)
    found |= {"origin": "mean", "seeds": len(seeds)}
    found["defense"] = replace(told, mark=f"{told.mark}, mean of {len(seeds)} seeds")
    for name, cell in list(found.items()):
        if isinstance(cell, OverSeeds):
            found[f"{name}{DEVIATION}"] = None if cell.deviation is None else round(cell.deviation, 6)
            found[name] = replace(cell, value=round(cell.value, 6))
    claimed, lowest = found.get("published"), found["lowest"]
    if isinstance(claimed, float) and isinstance(lowest, OverSeeds):
        found["published_difference"] = round(lowest.value - claimed, 6)
    return found


def _cells(row: BoardRow, rank: int | None, marks: Mapping[str, str], claim: Claim | None) -> dict[str, Cell]:
    first, trained = row.first, row.first.training
    signs = {"!": row.missing, "*": row.owed, "+": row.met_more}
    mark = marks.get(first.defense, "") + "".join(sign for sign, holds in signs.items() if holds)
    held: dict[str, Cell] = {
        "rank": rank,
        "defense": Marked(first.defense, mark, link(first.defense)),
        "origin": "measured",
        "paper": first.paper or None,
        "link": link(first.defense),
        "reconstruction": first.reconstruction,
        "adaptive": row.adaptive,
        "architecture": first.architecture,
        "trained_at": first.train_budget.label if first.train_budget else None,
        "parameters": trained.parameters if trained else None,
        "clean": first.clean,
        "best_known": row.best_known,
        "balanced": row.balanced,
        "ranked": row.ranked,
        "lowest": row.lowest,
        "findings": ", ".join(row.codes) or None,
        "seed": first.seed,
        "n": first.examples,
        "forwards": row.forwards,
        "backwards": row.backwards,
        "seconds": row.seconds,
        "recipe": trained.recipe if trained else None,
        "training_seconds": trained.seconds if trained and trained.epochs else None,
        "records": ", ".join(record.run_id for record in row.records),
    }
    for suite, found in row.worst.items():
        held[suite], held[f"{suite}_column"] = found or (None, None)
    if claim is not None:
        held |= {
            "published": claim.robust,
            "published_difference": None if row.lowest is None else round(row.lowest - claim.robust, 6),
            "published_by": claim.kind,
            "published_attack": claim.attack,
            "published_architecture": claim.architecture,
            "published_source": claim.source,
        }
    return held


def _published(row: Published) -> dict[str, Cell]:
    """A row of somebody else's board; they write percent, and give no intervals."""
    return {
        "defense": Marked(row.id, " (published)", row.link or None),
        "origin": "published",
        "paper": row.source,
        "link": row.link or None,
        "architecture": row.architecture or None,
        "clean": _share(row.clean),
        AUTOATTACK: _share(row.autoattack),
        "lowest": _share(row.robust),
    }


def _share(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 6)


def _marks(rows: Sequence[BoardRow]) -> dict[str, str]:
    reconstructed = sorted({row.first.defense for row in rows if row.first.reconstruction})
    return {defense: f" [{number}]" for number, defense in enumerate(reconstructed, start=1)}
