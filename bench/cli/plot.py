"""`bench plot`: figures of what `bench diagnose` kept; loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.records.diagnostics import KINDS

if TYPE_CHECKING:
    from bench.records.diagnostics import Kind
    from bench.report.paper import Format


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="ID|FOLDER...")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    metavar="KIND",
    help=f"{', '.join(KINDS)}; repeatable.  [default: all there are]",
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
def plot(names: tuple[str, ...], kinds: tuple[Kind, ...], out: Path, form: Format, store: Path) -> None:
    """Draw what bench diagnose kept: ids (or their beginnings), folders of diagnostics, or of several.

    Embedding, contributions and training compare all that are given in one figure; attention and purification
    have a figure for each.
    """
    from bench.records.diagnostics import find, read
    from bench.records.store import require_writable
    from bench.report.figures import draw

    require_writable(out, "folder of figures", "--out FOLDER")
    found = [read(folder) for folder in find(names, store)]
    for path in draw(found, kinds, out, form):
        click.echo(path)
