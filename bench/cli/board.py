"""`bench board`: records as ranked tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.core.counts import Count
from bench.core.threat import parse_eps
from bench.errors import BadData, BadValue
from bench.records.record import Record

if TYPE_CHECKING:
    from bench.report.exchange import Published
    from bench.report.paper_table import PaperTable

SHORT = 12
"""Rows of a table for one column of a page."""


@options.command()
@click.argument("records", nargs=-1, metavar="[RUN_ID|PATH]...")
@options.store
@click.option("--data", metavar="NAME", help="Boards of this data set alone.  [default: of all]")
@click.option("--eps", metavar="RADIUS", help="Boards of this radius alone.  [default: of all]")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "markdown", "csv", "latex"]),
    default="table",
    show_default=True,
    help="How boards are printed; csv holds one board.",
)
@click.option(
    "--wide",
    is_flag=True,
    help="LaTeX over both columns of a page, with every interval.  [default: one column]",
)
@click.option(
    "--columns",
    metavar="NAME,NAME",
    help="Of LaTeX, only these columns, by their names in CSV.  [default: all with room]",
)
@click.option(
    "--only", metavar="NAME,NAME", help="Of LaTeX, only the rows of these defenses.  [default: all]"
)
@click.option(
    "--top", type=Count(1), metavar="N", help="Of LaTeX, only the first N defenses.  [default: all]"
)
@click.option(
    "--short", is_flag=True, help="LaTeX for one column of a page: --top 12 --over-seeds.  [default: no]"
)
@click.option(
    "--over-seeds",
    is_flag=True,
    help="Of LaTeX, mean and standard deviation over seeds.  [default: a row for each]",
)
@click.option(
    "--names",
    "called",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='TOML with what LaTeX calls defenses, such as pgd_at = "PGD-AT".  [default: none]',
)
@click.option(
    "--cite", is_flag=True, help="LaTeX cites papers, with their BibTeX as comments below.  [default: no]"
)
@click.option("--siunitx", is_flag=True, help="LaTeX with numbers in S columns of siunitx 3.  [default: no]")
@click.option(
    "--balanced",
    is_flag=True,
    help="Also the mean of the robust accuracies of all classes.  [default: no]",
)
@click.option(
    "--published",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="RobustBench's model_info files, as rows below, never ranked.  [default: none]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write there.  [default: print]",
)
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write local boards there, as markdown and CSV.  [default: no]",
)
@click.option(
    "--rebuild",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Write the published boards of FOLDER again, from FOLDER/records.  [default: no]",
)
@click.option(
    "--verify",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Do the boards of FOLDER follow from FOLDER/records, byte by byte?  [default: no]",
)
@options.as_json
def board(
    records: tuple[str, ...],
    store: Path,
    data: str | None,
    eps: str | None,
    shape: str,
    wide: bool,
    balanced: bool,
    published: Path | None,
    out: Path | None,
    write: Path | None,
    rebuild: Path | None,
    verify: Path | None,
    as_json: bool,
    **paper: Any,
) -> int:
    """Rank the defenses of some records: run ids, record files, folders; without any, all of the store.

    Each data set, budget and number of examples has a board of its own.
    """
    from bench import publish
    from bench.records.store import require_writable, write_atomically

    _exclude(rebuild, verify, records, data, eps, published, out, write, shape, wide, balanced, as_json)
    if rebuild is not None:
        for path in publish.rebuild(rebuild):
            click.echo(path)
        return 0
    if verify is not None:
        wrong = publish.differing(verify)
        if not wrong:
            click.echo("all is well: every board follows from its records, byte by byte")
        click.echo(f"{publish.freshness(verify)}: made by code that is what it was")
        for path in wrong:
            click.echo(
                f"{path} does not follow from the records; try: bench board --rebuild {verify}", err=True
            )
        return 1 if wrong else 0
    if write is not None:
        require_writable(write, "folder of boards", "--write FOLDER")
    asked = _asked(shape, **paper)
    found = _chosen(records_of(records or (str(store),), store), data, eps)
    others = published_rows(published, found)
    text = _text(found, "json" if as_json else shape, wide, balanced, others, asked)
    if out is None:
        click.echo(text, nl=False)
    else:
        require_writable(out.parent, "folder", "--out FILE")
        write_atomically(out, text.encode())
        click.echo(f"wrote {out}", err=True)
    if write is not None:
        for path in publish.write_board(found, write, others):
            click.echo(f"wrote {path}", err=True)
    return 0


def records_of(names: Iterable[str], store: Path) -> list[Record]:
    """The records that run ids (or their beginnings), files and folders of records, and labels name.

    The store is a folder of runs, or of published records. What of a folder cannot be read is left out and
    told; a record that is named must be readable.

    Raises BadData for a name that leads to no record, BadValue for a beginning that leads to several.
    """
    from bench.cli.left_out import left_out
    from bench.publish import read_records

    found: dict[str, Record] = {}
    for name in names:
        path = Path(name)
        inside = _by_id(name, store) if name.isalnum() else {}
        if len(inside) > 1:
            raise BadValue(f"{name!r} is the beginning of several runs ({', '.join(inside)}), expected one")
        path = next(iter(inside.values()), path)
        records = read_records(path, left_out) if path.exists() else _by_label(name, store)
        if not records:
            raise BadData(
                f"{name!r} leads to no record, expected a run or a network's label in {str(store)!r}, a "
                "record.json or a folder",
                "bench list runs",
            )
        found.update({record.run_id: record for record in records})
    return list(found.values())


def _by_id(start: str, store: Path) -> dict[str, Path]:
    """Run id -> its record's file, of all ids that begin so."""
    from bench.publish import RECORDS

    runs = {path.parent.name: path for path in sorted(store.glob(f"{start}*/record.json"))}
    return runs or {path.stem: path for path in sorted(store.glob(f"{RECORDS}/{start}*.json"))}


def _by_label(name: str, store: Path) -> list[Record]:
    """The records of the network that has this label in tables."""
    from bench.cli.left_out import left_out
    from bench.publish import read_records
    from bench.records.labels import named_so

    return named_so(name, read_records(store, left_out)) if store.is_dir() else []


def published_rows(folder: Path | None, records: Sequence[Record]) -> list[Published]:
    """What others published, and a sentence where some of it fits none of these boards."""
    if folder is None:
        return []
    from bench.report.exchange import published
    from bench.report.setting import setting

    rows, places, ids = (
        published(folder),
        {setting(record) for record in records},
        {r.run_id for r in records},
    )
    own = [row.id for row in rows if ids & {*row.runs}]
    if own:
        click.echo(f"left out, as the records here were exported to them: {', '.join(own)}", err=True)
    rows = [row for row in rows if row.id not in own]
    without = [row.id for row in rows if not any(row.fits(place) for place in places)]
    if without:
        click.echo(
            f"{len(without)} of {len(rows)} published rows share data, norm and eps with no board here: "
            f"{', '.join(without[:5])}{', ...' if len(without) > 5 else ''}",
            err=True,
        )
    return rows


def width() -> int:
    """How wide a printed table may be: the terminal's width, or enough to break no cell in a file."""
    return shutil.get_terminal_size((200, 24)).columns


def _text(
    records: Sequence[Record],
    shape: str,
    wide: bool,
    balanced: bool,
    others: Sequence[Published],
    asked: tuple[PaperTable, Path | None] | None,
) -> str:
    """The board of each data set, budget and number of examples."""
    from bench.report.board import as_values, origin
    from bench.report.board import board as made
    from bench.report.latex_tables import board_latex
    from bench.report.render import csv, markdown, terminal
    from bench.report.setting import by_setting

    groups = by_setting(records)
    if shape == "csv" and len(groups) > 1:
        raise BadValue(
            f"these records make {len(groups)} boards, expected one for CSV, which has one header",
            "--data NAME --eps RADIUS, or --write FOLDER for a file each",
        )
    if shape == "json":
        found = [as_values(group, others, balanced) for group in groups]
        return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    forms: Mapping[str, Callable[[Sequence[Record]], str]] = {
        "table": lambda group: terminal(made(group, others, balanced), width()),
        "markdown": lambda group: markdown(made(group, others, balanced), origin(group, local=True)),
        "csv": lambda group: csv(made(group, others, balanced)),
        "latex": lambda group: board_latex(group, wide, others, balanced, _named(asked, group)),
    }
    return "\n".join(forms[shape](group) for group in groups)


def _asked(
    shape: str,
    columns: str | None,
    only: str | None,
    top: int | None,
    short: bool,
    over_seeds: bool,
    called: Path | None,
    cite: bool,
    siunitx: bool,
) -> tuple[PaperTable, Path | None] | None:
    """What a paper's table shows, and the file of its names; None: nothing was said of it."""
    if not any((columns, only, top, short, over_seeds, called, cite, siunitx)):
        return None
    if shape != "latex":
        raise BadValue(
            "--columns, --only, --top, --short, --over-seeds, --names, --cite and --siunitx are of LaTeX, "
            f"not of {shape}",
            "--format latex",
        )
    from bench.report.paper_table import PaperTable

    top = min(top or SHORT, SHORT) if short else top
    made = PaperTable(
        options.named(columns),
        options.named(only),
        top,
        over_seeds=over_seeds or short,
        cite=cite,
        siunitx=siunitx,
    )
    return made, called


def _named(asked: tuple[PaperTable, Path | None] | None, records: Sequence[Record]) -> PaperTable:
    """The same with the names of the file."""
    from bench.report.paper_table import PaperTable

    if asked is None or asked[1] is None:
        return asked[0] if asked else PaperTable()
    from bench.registry import DEFENSES
    from bench.report.names_file import read_names

    return replace(asked[0], names=read_names(asked[1], {*DEFENSES.names(), *(r.defense for r in records)}))


def _chosen(records: Sequence[Record], data: str | None, eps: str | None) -> list[Record]:
    """Those of one data set, of one radius, or both."""
    from bench.report.setting import setting

    radius = None if eps is None else parse_eps(eps)
    found = [record for record in records if data in (None, record.data)]
    left = [record for record in found if radius in (None, setting(record).eps)]
    if not left:
        held = sorted({f"{record.data} {record.budget}" for record in found or records})
        asked = " ".join(part for part in (data, eps) if part)
        raise BadValue(f"no record is of {asked!r}, expected one of {', '.join(held)}", "--data NAME")
    return left


def _exclude(rebuild: Path | None, verify: Path | None, *others: object) -> None:
    """Published boards follow from their own records alone, so nothing else is said about them."""
    if rebuild is not None and verify is not None:
        raise click.UsageError("--rebuild and --verify exclude each other, expected one of them")
    if (rebuild or verify) and any(other not in ((), None, False, "table") for other in others):
        word = "--rebuild" if rebuild else "--verify"
        raise click.UsageError(f"{word} FOLDER takes its own records, expected it alone")
