"""`bench publish`: records onto the published boards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.errors import BadValue

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.records.store import RunFolder


@options.command()
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
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of what is published of the same runs with other content.  [default: no]",
)
@click.option(
    "--no-weights",
    is_flag=True,
    help="Publish records alone.  [default: their weights, too, while there is room]",
)
def publish(records: tuple[str, ...], store: Path, folder: Path, replace: bool, no_weights: bool) -> None:
    """Put records on the published boards; refuses what a reader could not trust.

    Refused are records of changed or uncommitted code, custom suites, failed columns, runs with a finding or
    an audit that blocks them, the suite smoke, fewer than 200 examples, and what the examples and images of
    its run contradict. A published record is never replaced by another of the same run without --replace.

    Weights go to weights/ beside the boards, at most 25 MB in all, so that `bench verify` works for whoever
    has the boards alone.
    """
    from bench.cli.board import records_of
    from bench.publish import publish as put

    found = records_of(records, store)
    for record in found:
        _require_published_suite(record)
    runs = {record.run_id: run for record in found if (run := _folder_of(record, records, store)) is not None}
    weights = {} if no_weights else _weights_of(found, folder, records, store)
    for path in put(found, folder, runs=runs, replace=replace, weights=weights):
        click.echo(path)


def _weights_of(
    records: Sequence[Record], folder: Path, names: Sequence[str], store: Path
) -> dict[str, dict[str, bytes]]:
    """Run id -> the files of its networks, where they are at hand and find room; others are told."""
    from bench.errors import BadCheckpoint
    from bench.publish import room_for
    from bench.records.store import Store
    from bench.records.weights import LIMIT, are_published, files_of, published_files

    found: dict[str, dict[str, bytes]] = {}
    taken: dict[str, bytes] = {}
    for record in records:
        if are_published(record, folder):
            continue
        run = _folder_of(record, tuple(names), store)
        beside = next((Path(n).parent.parent for n in names if Path(n).stem == record.run_id), folder)
        try:
            if are_published(record, beside):
                files = published_files(record, beside)
            else:
                files = files_of(record, Store(run.path.parent if run is not None else store))
        except BadCheckpoint as error:
            click.echo(f"without weights: run {record.run_id}: {error.message}", err=True)
            continue
        if room_for(files, folder, taken):
            found[record.run_id] = files
            taken |= files
        else:
            told = (
                f"{sum(map(len, files.values())) / 1e6:.1f} MB would be more than {LIMIT / 1e6:.0f} MB in all"
            )
            click.echo(f"without weights: run {record.run_id}: {told}", err=True)
    return found


def _folder_of(record: Record, names: tuple[str, ...], store: Path) -> RunFolder | None:
    """Where a run was computed, if that is where a name or the store leads."""
    from bench.records.store import RunFolder

    given = [place for name in map(Path, names) for place in (name, name.parent, name / record.run_id)]
    for place in (store / record.run_id, *given):
        if place.resolve().name == record.run_id and (place / "record.json").is_file():
            return RunFolder(place)
    return None


def _require_published_suite(record: Record) -> None:
    """Raise BadValue where attacks differ from those of the suite that a record is said to be of."""
    from bench.core.encoding import encode
    from bench.core.names import as_published
    from bench.registry import suite_named

    if record.custom:
        return  # said and refused
    published = encode(suite_named(record.suite))
    held, known = (as_published(suite) for suite in (record.spec["suite"], published))
    if {**held, "examples": None} != {**known, "examples": None}:
        raise BadValue(
            f"run {record.run_id} is said to be of {record.suite}, and its attacks are not those of that "
            "suite here, expected a suite as it is published",
            f"bench show suite {record.suite}",
        )
