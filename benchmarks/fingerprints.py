"""Digests of the weights that every defense of the table comes to: what a change of code must leave alone.

Not a benchmark: run before and after a change on one machine with one number of threads, two files are equal
or the change moves results (docs/adr/0007-succession.md).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from bench.plan import Request, plan_training
from bench.records.store import Store, write_atomically
from bench.registry import DEFENSES
from bench.runner.options import Options
from bench.runner.weights import fit

EPOCHS = 2
WITHOUT_TRAINING = ("loaded",)


def fingerprints(names: tuple[str, ...], epochs: int = EPOCHS) -> Iterator[tuple[str, str]]:
    """(name, SHA-256 of its weights) of each defense, trained for so many epochs on digits."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(Store(Path(folder)), device="cpu")
        for name in names:
            settings = {"recipe": {"epochs": str(epochs)}}
            yield name, fit(plan_training(Request(name, settings=settings)), options).sha256


@click.command()
@click.option("--save", type=click.Path(path_type=Path), required=True, help="The file to write.")
def main(save: Path) -> None:
    """Train every defense that trains, and write the digests of the weights."""
    names = tuple(name for name in DEFENSES.names() if name not in WITHOUT_TRAINING)
    found = {}
    for name, digest in fingerprints(names):
        click.echo(f"{name}: {digest[:12]}", err=True)
        found[name] = digest
    write_atomically(save, (json.dumps(found, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
