"""Faults at every file operation of every kind of command: `python -m tests.torture` (`make torture`).

What was done is kept in the report, so a session that was stopped goes on; other code begins anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))  # the harness is no part of the package

import click
from harness.faults import KINDS
from harness.injections import Bed, Injection, few, spread, table
from harness.scenarios import SCENARIOS, call, write_data


@click.command()
@click.option("--scenario", "names", multiple=True, type=click.Choice([*SCENARIOS]), help="One alone.  [all]")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="One kind alone.  [all]")
@click.option("--each", type=int, default=10**9, help="At most so many of each scenario and kind.  [all]")
@click.option(
    "--short", is_flag=True, help="One fault of every other kind: what continuous integration does."
)
@click.option("--report", type=click.Path(path_type=Path), help="Where results are kept.  [nowhere]")
@click.option("--at", type=int, help="One operation alone.")
def torture(
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    each: int,
    short: bool,
    report: Path | None,
    at: int | None,
) -> None:
    """Inject faults, print what was not survived and a table; exit 1 if anything was not."""
    warm_up(names or SCENARIOS)
    done = _done(report)
    with tempfile.TemporaryDirectory(prefix="torture-") as place:
        for order, name in enumerate(names or SCENARIOS):
            began = time.monotonic()
            bed = Bed(SCENARIOS[name], Path(place).resolve() / name)
            count = 0
            chosen = few(bed, KINDS, order) if short else spread(bed, kinds or KINDS, each)
            for kind, number in chosen:
                if (name, kind, number) in done or at not in (None, number):
                    continue
                found = done[name, kind, number] = bed.inject(kind, number)
                count += 1
                _keep(report, found)
                if found.faults:
                    told = "; ".join(found.faults[:4])
                    print(f"{name} {kind} {number} ({found.operation}): {told}", flush=True)
            took = f"{count} faults in {time.monotonic() - began:.0f} s"
            print(f"{name}: {len(bed.operations)} operations, {took}", file=sys.stderr)
    print(table(list(done.values())))
    sys.exit(any(found.faults for found in done.values()))


def warm_up(names: Iterable[str]) -> None:
    """Load in this process whatever a command loads, so that children need not."""
    import torch

    torch.set_num_threads(1)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as place, _silent():
        try:
            for name in names:
                folder = Path(place) / name
                folder.mkdir()
                os.chdir(folder)
                write_data(folder)
                for step in SCENARIOS[name].steps():
                    call(step)
        finally:
            os.chdir(here)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing is told: libraries hold on to the streams that they find, so the streams stay what they are."""
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)


def _done(report: Path | None) -> dict[tuple[str, str, int], Injection]:
    """What the report holds of this very code."""
    from bench.records.asked import state

    if report is None:
        return {}
    lines = report.read_text().splitlines() if report.is_file() else []
    if not lines or json.loads(lines[0]).get("state") != state():
        report.write_text(json.dumps({"state": state()}) + "\n")
        return {}
    found = [Injection(**json.loads(line)) for line in lines[1:]]
    return {(one.scenario, one.kind, one.at): one for one in found}


def _keep(report: Path | None, found: Injection) -> None:
    if report is not None:
        with report.open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    torture()
