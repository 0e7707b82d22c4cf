"""`bench jobs`: which drivers compute in a store with workers, and what each worker does now."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from bench.cli import options
from bench.core.text import one_line
from bench.records.at_work import Driver, drivers


@options.command()
@options.store
@options.as_json
def jobs(store: Path, as_json: bool) -> int:
    """What runs where: the workers of every command that computes in the store with --on."""
    found = list(drivers(store))
    if as_json:
        rows = [{**dataclasses.asdict(driver), "is_there": driver.is_there} for driver in found]
        click.echo(json.dumps(rows, indent=1))
    elif not found:
        click.echo(f"no workers are at work in {store}")
    for driver in found if not as_json else ():
        click.echo("\n".join(map(one_line, _told(driver))))
    return 0


def _told(driver: Driver) -> list[str]:
    gone = "" if driver.is_there else "; it is gone, and its command goes on from there"
    lines = [f"--on {driver.engine}: process {driver.pid} on {driver.host} since {driver.since}{gone}"]
    for worker in driver.workers:
        done = f"{worker.answers} answers, {worker.seconds:.0f} s computed"
        lines.append(f"  {worker.name}: {worker.does or 'idle'} ({done})")
    return lines
