"""`bench site`: the page that people browse, as one folder of files; loads no torch."""

from __future__ import annotations

import time
from pathlib import Path

import click

from bench.cli import options


@options.command()
@click.argument("records", nargs=-1, metavar="[RECORD|FOLDER]...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where the page goes: a new or empty folder, or one with an earlier page, which is replaced.",
)
@click.option(
    "--published",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="RobustBench's model_info files, as grey rows below, never ranked.  [default: none]",
)
def site(records: tuple[Path, ...], out: Path, published: Path | None) -> None:
    """Write a page of boards and records: files of records, folders of boards or of runs.

    Folders of runs also lend the adversarial images and the curves that they hold.

    Without any, leaderboards/ is shown. The folder can be opened from disk or put on any web server: nothing
    in it asks for anything outside. Boards can be sorted and filtered, two rows be put side by side.
    """
    from bench.cli.board import published_rows
    from bench.cli.left_out import left_out
    from bench.errors import BadData
    from bench.publish import read_records
    from bench.site.extras import extras
    from bench.site.pages import site_files, write_site

    began = time.perf_counter()
    found = {}
    for place in records or (Path("leaderboards"),):
        if not place.exists():
            raise BadData(
                f"{str(place)!r} does not exist, expected a record's file, or a folder of boards or of runs",
                "bench site leaderboards --out site",
            )
        found.update({record.run_id: record for record in read_records(place, left_out)})
    beside = extras((place for place in records if place.is_dir()), left_out)
    chosen = [found[run_id] for run_id in sorted(found)]
    others = published_rows(published, chosen)
    written = write_site(site_files(chosen, beside, others), out)
    seconds = time.perf_counter() - began
    click.echo(f"{len(found)} records on {len(written)} pages and files in {seconds:.1f} s", err=True)
    click.echo(out / "index.html")
