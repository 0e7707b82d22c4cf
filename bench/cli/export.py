"""`bench export`: records in the form that other boards read; loads no torch."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli import options


@click.group(cls=options.Commands)
def export() -> None:
    """Write records in the form of somebody else's board."""


@export.command()
@click.argument("records", nargs=-1, required=True, metavar="RUN_ID|PATH...")
@options.store
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where model_info files go: FOLDER/DATA/NORM/ID.json.",
)
def robustbench(records: tuple[str, ...], store: Path, out: Path) -> None:
    """Write RobustBench's model_info for each training with a run of autoattack@1.

    Their keys and no others, as strings; what our records know besides lies beside each file.
    """
    from bench.cli.board import records_of
    from bench.records.files import require_writable, write_all
    from bench.report.exchange import export as made

    files = made(records_of(records, store))
    require_writable(out, "folder of exports", "--out FOLDER")
    write_all({out / name: text.encode() for name, text in files.items()})
    for name in files:
        click.echo(out / name)
