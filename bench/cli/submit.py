"""`bench submit`: what a stranger sends to get on a board, and what a maintainer does with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.errors import BadValue

if TYPE_CHECKING:
    from bench.records.record import Record

CODE = "code"
"""The folder of a submission that holds Python files of its authors'; `--code` names them."""


@options.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN_ID|FOLDER...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("submission"),
    show_default=True,
    metavar="FOLDER",
    help="Where runs are packed.",
)
@click.option(
    "--check", is_flag=True, help="Check the submission in FOLDER instead of packing one.  [default: no]"
)
@click.option(
    "--cells",
    default="3",
    show_default=True,
    metavar="K|all",
    help="With --check: how many columns of each run are computed again from its weights.",
)
@options.data_of_run
@options.code
@options.data_root
@options.device
@options.batch_size
@options.store
@options.accept_stale
@options.offline
def submit(
    names: tuple[str, ...],
    out: Path,
    check: bool,
    cells: str,
    data: str | None,
    code: tuple[str, ...],
    store: Path,
    **shared: Any,
) -> int:
    """Pack runs for the boards: records, weights, and the code of a network of your own.

    Refused is what `bench publish` would refuse, a run that was not audited, and one whose weights are not at
    hand. The folder has the form of published boards; send it as it is. Whoever keeps the boards types
    `bench submit --check FOLDER`, which asks the same of it and computes some columns again from its weights,
    reads the code in it, and then `bench publish FOLDER/records/ID.json`. Nothing in it is run unasked: code
    is, by --code alone.
    """
    if check:
        from bench.cli.requests import as_options

        how = as_options(store=store, rerun=False, **shared)
        return _checked([Path(name) for name in names], how, cells, data, code)
    _packed(names, store, out)
    return 0


def _packed(names: Sequence[str], store: Path, out: Path) -> None:
    from bench.cli.board import records_of
    from bench.publish import publish
    from bench.records.store import Store
    from bench.records.weights import files_of

    records = records_of(names, store)
    for record in records:
        if not record.audit:
            raise BadValue(
                f"run {record.run_id} was not audited, expected the rules that reviewers check",
                f"bench audit {record.run_id} --store {store}",
            )
    home = Store(store)
    runs = {one.run_id: home.run(one.run_id) for one in records if (store / one.run_id).is_dir()}
    weights = {record.run_id: files_of(record, home) for record in records}
    for path in publish(records, out, runs=runs, weights=weights):
        click.echo(path)
    for path in _code_of(records, home, out):
        click.echo(path)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    click.echo(f"{out}: {size / 1e6:.1f} MB; to check it as its reader will: bench submit --check {out}")


def _code_of(records: Sequence[Record], store: Any, out: Path) -> Iterator[Path]:
    """Copy the Python files of the authors' own that the networks are made with, where they still lie."""
    from bench.core.files import read_bytes
    from bench.records.origin import origin_of
    from bench.records.store import write_atomically
    from bench.records.weights import trainings_of

    trainings = dict.fromkeys(name for record in records for name in trainings_of(record))
    places = dict.fromkeys(place for name in trainings for place in origin_of(store.model(name)).code)
    for place in places:
        if place.endswith(".py") and Path(place).is_file():
            path = out / CODE / Path(place).name
            write_atomically(path, read_bytes(Path(place)))
            yield path


def _checked(folders: Sequence[Path], how: Any, cells: str, data: str | None, code: tuple[str, ...]) -> int:
    from bench.cli.verify import told, wanted
    from bench.publish import RECORDS, objections, read_records
    from bench.runner.from_weights import verify_from_weights

    wrong = 0
    for folder in folders:
        found = read_records(folder) if (folder / RECORDS).is_dir() else []
        if not found:
            raise BadValue(
                f"{str(folder)!r} is no submission, expected a folder with {RECORDS}/ID.json",
                "bench submit RUN_ID --out FOLDER",
            )
        for record in found:
            click.echo(f"{record.defense} under {record.suite}, {record.data}, run {record.run_id}")
            why = objections(record)
            if not record.audit:
                why.append("was not audited")
            for sentence in why:
                click.echo(f"FAIL board: it {sentence}")
            proofs = verify_from_weights(record, how, folder, wanted(cells), data, code)
            wrong += len(why) + sum(proof.holds is False for proof in map(told, proofs))
    paths = " ".join(str(folder / RECORDS) for folder in folders)
    click.echo(f"bench publish {paths}/*.json" if not wrong else f"{wrong} things are wrong")
    return 1 if wrong else 0
