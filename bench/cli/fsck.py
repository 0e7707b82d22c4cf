"""`bench fsck`: is everything in a store what it was when it was written?"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.core.places import STORE
from bench.core.text import one_line

if TYPE_CHECKING:
    from bench.fsck.check import Looked
    from bench.fsck.flaw import Flaw


@options.command()
@click.argument("store", type=click.Path(path_type=Path), default=STORE)
@click.option(
    "--repair",
    is_flag=True,
    help="Remove leftovers and damaged cells, move damaged records and weights to STORE/damaged.  "
    "[default: change nothing]",
)
@options.as_json
def fsck(store: Path, repair: bool, as_json: bool) -> int:
    """Check every digest, cell, record, weights file and leftover of a store, and say what to type.

    Nothing is computed, and without --repair nothing is changed. A run that is not complete is no fault: the
    command that began it goes on. The exit code is 1 if something is wrong, also where it was repaired.
    """
    from bench.cli.console import Console
    from bench.fsck.check import Looked, check
    from bench.fsck.flaw import mend

    looked, told = Looked(), []
    for flaw in check(store, Console(), looked):
        done = mend(flaw, store) if repair else None
        told.append(_as_told(flaw, done))
        if not as_json:
            click.echo(one_line(_line(flaw, done, store)))
    if as_json:
        click.echo(json.dumps({**vars(looked), "flaws": told}, indent=1))
    else:
        click.echo(_summary(looked, len(told), repair))
    return 1 if told else 0


def _as_told(flaw: Flaw, done: str | None) -> dict[str, object]:
    return {
        "path": str(flaw.path),
        "what": flaw.what,
        "repair": flaw.repair,
        "then": flaw.then,
        "along": [str(path) for path in flaw.along],
        "done": done,
    }


def _line(flaw: Flaw, done: str | None, store: Path) -> str:
    """What is wrong with one file, and what to type next."""
    if done is not None:
        return f"{flaw.path} {flaw.what}: {done}; then: {flaw.then}"
    return f"{flaw.path} {flaw.what}; try: bench fsck {shlex.quote(str(store))} --repair, then {flaw.then}"


def _summary(looked: Looked, flaws: int, repaired: bool) -> str:
    """How much was looked at, and what came of it."""
    seen = f"{looked.runs} runs, {looked.trainings} trainings, {looked.results} results of studies"
    unfinished = looked.unfinished
    going = f"; not complete: {', '.join(unfinished)} (the same command goes on)" if unfinished else ""
    if not flaws:
        return f"{seen}: nothing is wrong{going}"
    return f"{seen}: {flaws} files are {'repaired' if repaired else 'wrong'}{going}"
