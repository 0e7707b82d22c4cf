"""Boards and runs as LaTeX: columns that fit a page, bold where a test allows it, and a caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bench.core.listing import listing
from bench.core.threat import Budget, Norm
from bench.errors import BadValue, unknown
from bench.records.record import Balanced, Interval, Record
from bench.report.board import board, origin
from bench.report.exchange import Published
from bench.report.latex import Place, caption, escape, latex
from bench.report.paper_table import PaperTable
from bench.report.render import Cell, ColumnKind, Marked, Table, TableColumn
from bench.report.setting import Setting, distinct, setting, suite_label
from bench.report.significance import LEVEL, best_records
from bench.report.table import run_table

TESTED = (
    "Bold: not worse than the highest of its column beyond chance (exact McNemar tests on the same images, "
    rf"Holm over the rows, $p < {LEVEL:g}$)."
)
"""What bold figures mean."""


_COSTS = ("passes", "training_seconds")

WHOLE = PaperTable()
"""All rows and columns, under their own names."""

_OVER_SEEDS = (
    "Mean and standard deviation of the sample over seeds, where there are several; nothing is bold: tests "
    "on the same images speak of single trainings."
)


def board_latex(
    records: Sequence[Record],
    wide: bool = False,
    published: Sequence[Published] = (),
    balanced: bool = False,
    asked: PaperTable = WHOLE,
) -> str:
    """A board of one ground for a paper: one column of a page without intervals, or both with everything.

    What all rows share is said in the caption rather than in a column. `asked`: which rows and columns, and
    how they are named.

    Raises:
        BenchError: a defense or a column that is asked for is not there, or S columns for intervals.
    """
    if wide and asked.siunitx:
        raise BadValue(
            "an S column holds a number, and --wide has intervals, expected one of both", "--siunitx"
        )
    of_all = len({record.defense for record in records})
    records = asked.chosen(records)
    table, place = board(records, published, balanced, means=False), setting(records[0])
    names = [column.name for column in table.columns]
    trainings = [dict(zip(names, row, strict=True)) for row in table.rows]
    rows = asked.shown(trainings, records)
    met = [column.name for column in table.columns if f"{column.name}_column" in names]
    suites = [suite for suite in met if 2 * sum(row[suite] is not None for row in rows) >= len(rows)] or met
    rare = [suite for suite in met if suite not in suites]
    letters = _letters(rows)
    chosen = _wanted(_columns(table, rows, suites, wide, rare=len(rare)), asked)
    in_it = {column.name for column in chosen}
    suites = [suite for suite in suites if suite in in_it]
    tested, silent = (set[Place](), [_OVER_SEEDS]) if asked.over_seeds else _bold(records, rows, suites)
    shown = Table(
        "",
        chosen,
        tuple(tuple(_cell(column, row, letters, wide, asked) for column in chosen) for row in rows),
        notes=_notes(rows, letters),
        quiet=frozenset(at for at, row in enumerate(rows) if row["origin"] == "published"),
    )
    bold = " ".join([*([TESTED] if tested else []), *silent])
    told = [_shared(rows, place)]
    shown_of = len({record.defense for record in records})
    if shown_of < of_all:
        told.append(f"Shown: {shown_of} of {of_all} defenses.")
    if any(column.name == "passes" for column in chosen):
        told.append("Passes: forwards and backwards for each image, of all attacks.")
    if balanced:
        told.append("Balanced: the mean of the worst cases of all classes.")
    if any(column.name == "published" for column in chosen):
        told.append("Published: what was said of the method on other weights, often other networks.")
    if rare:
        few = escape(", ".join(rare))
        told.append(f"Lowest: over all suites, those that few rows met among them ({few}).")
    more = " ".join(told)
    reach = max(
        (_reach(cell) for row in trainings for cell in row.values() if isinstance(cell, Interval)),
        default=0.0,
    )
    bounded = wide and not asked.over_seeds
    intervals = (
        rf"with 95\,\% Wilson intervals{' of each training' if asked.over_seeds else ''}"
        f"{'' if bounded else f' of at most {100 * reach:.1f} points to a side'}"
    )
    said = caption(
        place.data,
        place.norm,
        str(place.eps),
        place.n,
        suites,
        bold,
        more,
        intervals,
    )
    style = _SMALL if wide and len(met) < _MANY else _SMALLER if not rare else _TIGHT
    if len(rare) >= _CROWDED or (asked.over_seeds and not wide):
        style = _TIGHTEST
    made = latex(
        shown, said, f"tab:{place.stem}", tested, origin(distinct(records)), wide, style, asked.siunitx
    )
    return made + "".join(f"% {line}".rstrip() + "\n" for line in asked.references(rows).splitlines())


def _wanted(there: tuple[TableColumn, ...], asked: PaperTable) -> tuple[TableColumn, ...]:
    """The columns that were asked for, in that order, behind the defense; without any, all that have room."""
    names = asked.columns
    if not names:
        return tuple(c for c in there if not (asked.over_seeds and c.name in _COSTS))
    known = {column.name: column for column in there}
    known |= {name.partition("@")[0]: column for name, column in known.items()}
    for name in names:
        if name not in known:
            raise unknown("column", name, known, owner="this table")
    first = [column for column in there if column.name == "defense" and "defense" not in names]
    return (*first, *(known[name] for name in names))


def run_latex(record: Record, wide: bool = False) -> str:
    """The table of one run; costs where there is room for them."""
    table = run_table(record)
    kept = ("column", "knowledge", "robust_accuracy", "attack_success_rate", "note")
    costs = ("forwards", "backwards", "seconds")
    known = any(row[-1] is not None for row in table.rows)
    chosen = [
        (replace(column, only_csv=False, title=_RUN_TITLES.get(column.name, column.title)), place)
        for place, column in enumerate(table.columns)
        if column.name in (*kept, *(costs if wide else ())) and (column.name != "note" or known)
    ]
    shown = Table(
        "",
        tuple(column for column, _ in chosen),
        tuple(tuple(row[place] for _, place in chosen) for row in table.rows),
        notes=tuple(f"{found.code}: {found.detail}" for found in record.findings),
    )
    about = (
        rf"\textbf{{{escape(record.defense)}}} ({escape(record.architecture)}, seed {record.seed}) under "
        f"{escape(record.suite)}{' (custom)' if record.custom else ''}."
    )
    said = caption(record.data, record.norm, record.eps, record.examples, [record.suite])
    style = _SMALL if wide else _TIGHTEST if len(chosen) == _ALL_OF_RUN else _TIGHT
    more = r"Success: of the images that an attack met." + (_PASSES if wide else "")
    label = f"tab:{record.defense.partition('[')[0]}-{record.run_id[:6]}"
    return latex(shown, f"{about} {said} {more}", label, (), origin([record]), wide, style)


_MANY = 3  # suites beside each other ask for smaller print
_CROWDED = 2  # suites that few rows met, besides those that most did: costs must go, and print be smallest

_SMALL = r"\small\setlength{\tabcolsep}{4pt}"
_SMALLER = r"\footnotesize\setlength{\tabcolsep}{2.7pt}"
_TIGHT = r"\footnotesize\setlength{\tabcolsep}{1.9pt}"
_TIGHTEST = r"\scriptsize\setlength{\tabcolsep}{1.2pt}"

_ALL_OF_RUN = 5  # columns of a narrow run, one of them its notes

_RUN_TITLES = {"robust_accuracy": "accuracy", "attack_success_rate": "success"}

_PASSES = " Forwards and backwards: means over all images."

_RECONSTRUCTED, _INCOMPLETE, _OWES, _LOWER = "†", "!", "*", "+"


def _bold(
    records: Sequence[Record], rows: Sequence[Mapping[str, Cell]], suites: Sequence[str]
) -> tuple[set[Place], list[str]]:
    """The cells that may be bold, and why a column has none; a row alone needs no reason."""
    places: set[Place] = set()
    silent = []
    for suite in suites:
        measured = [record for record in distinct(records) if suite_label(record) == suite]
        if len(measured) < 2:
            continue
        try:
            best = best_records(measured)
        except BadValue as error:
            silent.append(f"Nothing is bold under {escape(suite)}: {escape(error.message)}.")
            continue
        if best.untested:
            few = f"{len(best.untested)} of {len(measured)} records do not say which images were kept"
            silent.append(f"Nothing is bold under {escape(suite)}: {few}.")
        elif len(best.rows) == len(measured):
            silent.append(
                f"Nothing is bold under {escape(suite)}: no row is worse than another beyond chance."
            )
        else:
            of_rows = [str(row["records"]).split(", ") for row in rows]
            places |= {(at, suite) for at, ids in enumerate(of_rows) if best.rows & {*ids}}
    return places, silent


def _columns(
    table: Table, rows: Sequence[Mapping[str, Cell]], suites: Sequence[str], wide: bool, rare: int
) -> tuple[TableColumn, ...]:
    """Those that tell rows apart, and in the wide form what the narrow one has no room for."""
    kind = ColumnKind.INTERVAL if wide else ColumnKind.SHARE
    plain = [listing(suite).short for suite in suites]
    titles = [plain[at] if plain.count(plain[at]) == 1 else suite for at, suite in enumerate(suites)]
    shown = {column.name for column in table.columns if not column.only_csv}
    found = [TableColumn("defense", "defense")]
    for name, form in (
        ("architecture", ColumnKind.TEXT),
        ("trained_at", ColumnKind.TEXT),
        ("seed", ColumnKind.COUNT),
    ):
        if _several(rows, name):
            found.append(TableColumn(name.replace("_", " "), name, form))
    found.append(TableColumn("clean", "clean", kind))
    found += [
        TableColumn(title, suite, kind, group="worst case")
        for title, suite in zip(titles, suites, strict=True)
    ]
    if rare:
        found.append(TableColumn("lowest", "lowest", ColumnKind.SHARE, group="worst case"))
    if "balanced" in shown:
        found.append(TableColumn("balanced", "balanced", kind))
    if "best_known" in shown:
        found.append(TableColumn("best known", "best_known", kind))
    if wide and "published" in shown:
        found.append(TableColumn("published", "published", ColumnKind.SHARE))
    if wide or rare < _CROWDED:
        found.append(TableColumn("passes", "passes", ColumnKind.COUNT))
    if wide and rare < _CROWDED:
        found.append(TableColumn("train s", "training_seconds", ColumnKind.COUNT))
    return tuple(found)


def _cell(
    column: TableColumn, row: Mapping[str, Cell], letters: Mapping[str, str], wide: bool, asked: PaperTable
) -> Cell:
    if column.name == "passes":
        spent = [row.get(name) for name in ("forwards", "backwards")]
        return round(sum(cost for cost in spent if isinstance(cost, float))) if spent[0] is not None else None
    cell = row[column.name]
    if column.name == "defense" and isinstance(cell, Marked):
        incomplete = _INCOMPLETE if "!" in cell.mark else ""
        owes = _OWES if row["adaptive"] == "owed" else ""
        lower = _LOWER if "+" in cell.mark else ""
        marks = ["†" if row["reconstruction"] else "", incomplete, owes, lower]
        marks += [letters[code] for code in _codes(row)]
        return asked.called(Marked(cell.text, "".join(marks)), row)
    if isinstance(cell, (Interval, Balanced)) and column.kind is ColumnKind.SHARE:
        return cell.value
    return round(cell) if column.kind is ColumnKind.COUNT and isinstance(cell, float) else cell


def _letters(rows: Sequence[Mapping[str, Cell]]) -> dict[str, str]:
    """A superscript letter for each finding."""
    codes = sorted({code for row in rows for code in _codes(row)})
    return {code: chr(ord("a") + place) for place, code in enumerate(codes)}


def _codes(row: Mapping[str, Cell]) -> list[str]:
    return str(row["findings"]).split(", ") if row["findings"] else []


def _notes(rows: Sequence[Mapping[str, Cell]], letters: Mapping[str, str]) -> tuple[str, ...]:
    marks = "".join(cell.mark for row in rows if isinstance(cell := row["defense"], Marked))
    told: list[tuple[str, Callable[[], bool]]] = [
        (
            f"{_RECONSTRUCTED} reconstructed without its full text",
            lambda: any(r["reconstruction"] for r in rows),
        ),
        (f"{_INCOMPLETE} not every suite that counts was run", lambda: "!" in marks),
        (f"{_OWES} owes an adaptive attack", lambda: any(row["adaptive"] == "owed" for row in rows)),
        (f"{_LOWER} lower under attacks that not all rows met", lambda: "+" in marks),
    ]
    notes = [text for text, holds in told if holds()]
    notes += [f"{letter}: {code}" for code, letter in letters.items()]
    if any(row["origin"] == "published" for row in rows):
        notes.append("in italics: published, without a record here")
    return ("; ".join(notes),) if notes else ()


def _shared(rows: Sequence[Mapping[str, Cell]], place: Setting) -> str:
    """What all measured rows have in common; the budget in training where it is not that of the board."""
    told = []
    own = Budget(Norm(place.norm), place.eps).label
    names = {"architecture": "network", "recipe": "recipe", "trained_at": "trained at", "seed": "seed"}
    for name, title in names.items():
        held = rows[0][name]
        if not _several(rows, name) and held not in (None, own):
            told.append(f"{title} {escape(str(held))}")
    return f"Of all rows: {', '.join(told)}." if told else ""


def _several(rows: Sequence[Mapping[str, Cell]], name: str) -> bool:
    return len({row[name] for row in rows if row["origin"] == "measured"}) > 1


def _reach(found: Interval) -> float:
    return max(found.value - found.low, found.high - found.value)
