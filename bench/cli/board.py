"""`bench board`: records as ranked tables."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import click

from bench.cli import options
from bench.errors import BadData, BadValue
from bench.records.record import Record


@click.command()
@click.argument("records", nargs=-1, metavar="[RUN_ID|PATH]...")
@options.store
@click.option(
    "--format",
    "shape",
    type=click.Choice(["table", "markdown", "csv"]),
    default="table",
    show_default=True,
    help="How boards are printed.",
)
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write local boards there.  [default: no]",
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
def board(
    records: tuple[str, ...],
    store: Path,
    shape: str,
    write: Path | None,
    rebuild: Path | None,
    verify: Path | None,
) -> int:
    """Rank the defenses of some records: run ids, record files, folders; without any, all of the store.

    Each data set, budget and number of examples has a board of its own.
    """
    from bench import publish

    if rebuild is not None and verify is not None:
        raise click.UsageError("--rebuild and --verify exclude each other, expected one of them")
    if rebuild is not None:
        for path in publish.rebuild(rebuild):
            click.echo(path)
        return 0
    if verify is not None:
        wrong = publish.differing(verify)
        for path in wrong:
            click.echo(
                f"{path} does not follow from the records; try: bench board --rebuild {verify}", err=True
            )
        return 1 if wrong else 0
    found = records_of(records or (str(store),), store)
    print_boards(found, shape)
    if write is not None:
        for path in publish.write_board(found, write):
            click.echo(f"wrote {path}", err=True)
    return 0


def print_boards(records: Iterable[Record], shape: str = "table") -> None:
    """Print the board of each data set, budget and number of examples to stdout."""
    from bench.report import board as boards
    from bench.report.render import csv, markdown, terminal

    for place, group in enumerate(boards.grounds(list(records))):
        table = boards.board(group)
        text = (
            {"markdown": markdown, "csv": csv}[shape](table) if shape != "table" else terminal(table, width())
        )
        click.echo(("\n" if place else "") + text, nl=False)


def records_of(names: Iterable[str], store: Path) -> list[Record]:
    """The records that run ids (or their beginnings), record files and folders of records name.

    Raises BadData for a name that leads to no record, BadValue for a beginning that leads to several.
    """
    from bench.publish import read_records

    found: dict[str, Record] = {}
    for name in names:
        path = Path(name)
        inside = sorted(store.glob(f"{name}*/record.json")) if name.isalnum() else []
        if len(inside) > 1:
            ids = ", ".join(held.parent.name for held in inside)
            raise BadValue(f"{name!r} is the beginning of several runs ({ids}), expected one")
        records = read_records(inside[0]) if inside else read_records(path) if path.exists() else []
        if not records:
            raise BadData(
                f"{name!r} leads to no record, expected a run in {str(store)!r}, a record.json or a folder",
                "bench list runs",
            )
        found.update({record.run_id: record for record in records})
    return list(found.values())


def width() -> int:
    """How wide a printed table may be: the terminal's width, or enough to break no cell in a file."""
    return shutil.get_terminal_size((160, 24)).columns
