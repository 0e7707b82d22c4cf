"""`bench publish`: records onto the published boards."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli import options


@click.command()
@click.argument("records", nargs=-1, required=True, metavar="RUN_ID|PATH...")
@options.store
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("leaderboards"),
    show_default=True,
    metavar="FOLDER",
    help="Where the boards are.",
)
def publish(records: tuple[str, ...], store: Path, folder: Path) -> None:
    """Put records on the published boards; refuses what a reader could not trust.

    Refused are records of changed or uncommitted code, custom suites, failed columns, and runs with a finding
    that blocks them.
    """
    from bench.cli.board import records_of
    from bench.publish import publish as put

    for path in put(records_of(records, store), folder):
        click.echo(path)
