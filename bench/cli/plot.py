"""`bench plot`: figures of what `bench diagnose` and `bench run` kept; loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from bench.cli import options
from bench.errors import BadData, BadValue
from bench.records.diagnostics import KINDS

if TYPE_CHECKING:
    from bench.records.diagnostics import Kind
    from bench.report.paper import Format
    from bench.report.queries import Run

QUERIES, DISTANCE = "queries", "distance"
"""The kinds that are drawn of runs; the others are drawn of diagnostics."""


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="ID|FOLDER...")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([*KINDS, QUERIES, DISTANCE]),
    multiple=True,
    metavar="KIND",
    help=f"{', '.join(KINDS)}; of runs {QUERIES} or {DISTANCE}; repeatable.  "
    "[default: all there are of diagnostics]",
)
@click.option(
    "--every-column",
    is_flag=True,
    help=f"Under --kind {QUERIES}, draw all columns.  [default: attackers with scores or labels alone]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where the figures go, each with its numbers in a CSV beside it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["pdf", "png", "svg"]),
    default="pdf",
    show_default=True,
    metavar="pdf|png|svg",
    help="What kind of file.",
)
@options.store
def plot(
    names: tuple[str, ...], kinds: tuple[str, ...], every_column: bool, out: Path, form: Format, store: Path
) -> None:
    """Draw what bench diagnose kept: ids (or their beginnings), folders of diagnostics, or of several.

    Embedding, contributions and training compare all that are given in one figure; attention and purification
    have a figure for each. Queries are drawn of runs, whose ids or folders are given: the share of examples
    still robust against the number of queries, a line for each column that asks. So is distance: the share
    still robust against the distance to the nearest adversarial image, of attacks that look for the nearest
    (bench run --attack fmn --eps 1).
    """
    from bench.records.diagnostics import find, read
    from bench.records.store import require_writable
    from bench.report.figures import draw, draw_distances, draw_queries

    of_runs = [kind for kind in (QUERIES, DISTANCE) if kind in kinds]
    for kind in kinds:
        if of_runs and kind in KINDS:
            raise BadValue(
                f"--kind {of_runs[0]} is of runs and --kind {kind} of diagnostics, expected one of them"
            )
    if len(of_runs) > 1:
        raise BadValue(f"--kind is {QUERIES} and {DISTANCE}, expected one of them at a time")
    if every_column and QUERIES not in kinds:
        raise BadValue(f"--every-column comes without --kind {QUERIES}, expected both", f"--kind {QUERIES}")
    require_writable(out, "folder of figures", "--out FOLDER")
    if QUERIES in kinds:
        paths = draw_queries(_runs(names, store), every_column, out, form)
    elif DISTANCE in kinds:
        paths = draw_distances(_runs(names, store), out, form)
    else:
        found = [read(folder) for folder in find(names, store)]
        paths = draw(found, cast("Sequence[Kind]", kinds), out, form)
    for path in paths:
        click.echo(path)


def _runs(names: Sequence[str], store: Path) -> list[Run]:
    """The complete runs that ids (or their beginnings) and folders name, each once."""
    from bench.records.store import RunFolder, read_record
    from bench.report.queries import Run

    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        inside = sorted(store.glob(f"{name}*/record.json")) if name.isalnum() else []
        if len(inside) > 1:
            ids = ", ".join(held.parent.name for held in inside)
            raise BadValue(f"{name!r} is the beginning of several runs ({ids}), expected one")
        records = inside or [path / "record.json", *sorted(path.glob("*/record.json"))]
        folders = [record.parent.resolve() for record in records if record.is_file()]
        if not folders:
            raise BadData(
                f"{name!r} leads to no complete run, expected an id in {str(store)!r} or a folder of runs",
                "bench list runs",
            )
        found.update(dict.fromkeys(folders))
    return [Run(read_record(folder / "record.json"), RunFolder(folder).examples()) for folder in found]
