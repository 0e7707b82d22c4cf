"""`bench reproduce`: the whole of a record, training and attacks, computed again and compared."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.errors import BadValue, BenchError

if TYPE_CHECKING:
    from bench.records.record import Record


@options.command(context_settings={"ignore_unknown_options": True})
@click.argument("run", metavar="RUN_ID|PATH")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- WORDS OF bench run...]")
@click.option(
    "--dry-run", is_flag=True, help="Print the commands and run none of them.  [default: run the last]"
)
@options.store
@options.as_json
def reproduce(run: str, words: tuple[str, ...], dry_run: bool, store: Path, as_json: bool) -> int:
    """Train and attack again as a record says, and compare what comes out with it.

    The commands are printed first. Other weights may come out on another machine, where training rounds
    otherwise: then the question is whether both are apart beyond chance (McNemar on the same images, 1 %).
    The exit code is 1 where they are, or where the same weights come to other verdicts. Words after --
    replace those of the command: where your own files lie (-- --data npz:FILE --checkpoint FILE), what to
    compute on (-- --device cuda).
    """
    from bench.cli.board import records_of
    from bench.report.reproduced import Reproduced
    from bench.site.commands import reproduce as commands

    found = records_of((run,), store)
    if len(found) != 1:
        raise BadValue(
            f"{run!r} leads to {len(found)} records, expected one", f"bench list runs --store {store}"
        )
    record = found[0]
    lines = list(commands(record))
    for line in lines:
        click.echo(line, err=as_json)
    if dry_run:
        return 0
    asked, environment = _command(lines, words)
    with tempfile.TemporaryDirectory() as place:
        where = place if (store / record.run_id).is_dir() else str(store)  # its own result is no proof of it
        again = _answer([*asked, "--store", where], environment)
    told = Reproduced(record, again)
    click.echo(json.dumps(told.plain(), indent=1) if as_json else told.text(), nl=as_json)
    return 0 if told.holds else 1


def _command(lines: Sequence[str], given: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words of the command after `bench`, with those given in their places; and its variables."""
    line = next(line for line in lines if "bench run" in line and not line.startswith("#"))
    words = shlex.split(line)
    at = words.index("bench")
    asked = _replaced(words[at + 1 :], given)
    if "FILE" in asked or "npz:FILE" in asked:
        name = asked[next(i for i, word in enumerate(asked) if word.endswith("FILE")) - 1]
        comment = next((line[2:] for line in lines if line.startswith("# FILE")), "a file of its authors")
        raise BadValue(f"the record is of a file that it does not hold ({comment})", f"-- {name} PATH")
    return asked, dict(word.split("=", 1) for word in words[:at])


def _replaced(words: Sequence[str], given: Sequence[str]) -> list[str]:
    """Words of a command where those of `given` stand in the place of the same option, or at the end."""
    found = list(words)
    rest = list(given)
    while rest:
        name = rest.pop(0)
        values = [rest.pop(0)] if rest and not rest[0].startswith("--") else []
        if name in found and values:
            found[found.index(name) + 1] = values[0]
        else:
            found += [name, *values]
    return found


def _answer(words: Sequence[str], variables: Mapping[str, str]) -> Record:
    """The record that `bench run` prints, in a process with the threads of then; its progress is shown."""
    from bench.records.reading import from_json

    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, "--json"],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError("the command failed, see above; expected it to end with a record")
    return from_json(done.stdout, "what bench run printed")
