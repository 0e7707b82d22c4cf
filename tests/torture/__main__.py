"""Faults at every file operation of every kind of command: `python -m tests.torture` (`make torture`).

What was done is kept in the report, so a session that was stopped goes on; other code begins anew.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))  # the harness is no part of the package

import click
import harness.workers as teams
from harness.damage import FILLING, WAYS, Ward, cases
from harness.damage import few as few_cases
from harness.faults import KINDS
from harness.injections import Bed, Injection, few, spread, table
from harness.races import RACES, Track, moments
from harness.scenarios import SCENARIOS, call, write_data
from harness.workers import Gang

Done = dict[tuple[str, str, int], Injection]


@click.command()
@click.option("--scenario", "names", multiple=True, type=click.Choice([*SCENARIOS]), help="One alone.  [all]")
@click.option("--race", "races", multiple=True, type=click.Choice([*RACES]), help="One alone.  [all]")
@click.option("--workers", is_flag=True, help="Kills of workers and of their driver alone.  [all]")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice([*teams.ENGINES]),
    help="Of the kills of workers those on one engine alone.  [all that are installed]",
)
@click.option("--damage", is_flag=True, help="Damage alone: every file of a store, in every way.  [all]")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice([*KINDS, *WAYS]), help="One kind alone.  [all]"
)
@click.option(
    "--each", type=int, default=10**9, help="At most so many of each scenario (or file) and kind.  [all]"
)
@click.option("--rounds", type=int, default=20, show_default=True, help="How often each race is run.")
@click.option(
    "--short", is_flag=True, help="One fault of every other kind: what continuous integration does."
)
@click.option("--report", type=click.Path(path_type=Path), help="Where results are kept.  [nowhere]")
def torture(
    names: tuple[str, ...],
    races: tuple[str, ...],
    workers: bool,
    engines: tuple[str, ...],
    damage: bool,
    kinds: tuple[str, ...],
    each: int,
    rounds: int,
    short: bool,
    report: Path | None,
) -> None:
    """Inject faults, print what was not survived and a table; exit 1 if anything was not."""
    everything = not (names or races or workers or engines or damage)
    chosen, run = (tuple(SCENARIOS), tuple(RACES)) if everything else (names, races)
    gang, harm = bool(engines) or workers or everything, damage or everything
    injected = [kind for kind in KINDS if not kinds or kind in kinds]
    done = _done(report)
    warm_up([*chosen, *(("run", "train", "curve") if run else ()), *(FILLING if harm else ())])
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        place = Path(folder).resolve() / "here"
        for number, name in enumerate(chosen):
            with _told(name, done):
                bed = Bed(SCENARIOS[name], place)
                faults = few(bed, KINDS, number) if short else spread(bed, injected, each)
                for kind, at in faults:
                    if (name, kind, at) not in done:
                        _keep(bed.inject(kind, at), done, report)
        for name in run:
            with _told(name, done):
                track = Track(RACES[name], place)
                for kind, at in moments(track, 1 if short else rounds):
                    if (name, kind, at) not in done:
                        _keep(track.run(kind, at), done, report)
        if gang:
            with _told(teams.NAME, done):
                band = Gang(place)
                for kind, at in teams.moments(1 if short else rounds, _installed(engines)):
                    if (teams.NAME, kind, at) not in done:
                        _keep(band.run(kind, at), done, report)
        if harm:
            with _told("damage", done):
                ward, met = Ward(place), {at for name, _, at in done if name.startswith("damage")}
                for at, (file, how) in few_cases(ward) if short else cases(ward, kinds or WAYS, each):
                    if at not in met:
                        _keep(ward.harm(at, file, how), done, report)
    print(table(list(done.values())))
    sys.exit(any(found.faults for found in done.values()))


def _installed(engines: tuple[str, ...]) -> list[str]:
    """The engines whose workers are killed; of each that is left out is said what it lacks."""
    chosen = engines or tuple(teams.ENGINES)
    for engine in chosen:
        package = teams.lacking(engine)
        if package is not None:
            print(f"{engine} is left out: {package} is not installed", file=sys.stderr)
    return [engine for engine in chosen if teams.lacking(engine) is None]


def warm_up(names: Iterable[str]) -> None:
    """Load in this process whatever a command loads, so that children need not."""
    import torch

    from bench.core import lock

    torch.set_num_threads(1)
    lock.installed_version = cache(lock.installed_version)  # half of the time of a tiny run
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as place, _silent():
        try:
            for name in dict.fromkeys(names):
                folder = Path(place) / name
                folder.mkdir()
                os.chdir(folder)
                write_data(folder)
                for step in SCENARIOS[name].steps():
                    call(step)
        finally:
            os.chdir(here)
    gc.collect()
    gc.freeze()  # a child that never touches what it inherits need not copy it


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


@contextlib.contextmanager
def _told(name: str, done: Done) -> Iterator[None]:
    """Say how many faults there were, and how long they took."""
    began, before = time.monotonic(), len(done)
    yield
    print(f"{name}: {len(done) - before} faults in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _done(report: Path | None) -> Done:
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


def _keep(found: Injection, done: Done, report: Path | None) -> None:
    """Note one fault, and tell it where it was not survived."""
    done[found.scenario, found.kind, found.at] = found
    if report is not None:
        with report.open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")
    if found.faults:
        print(f"{found.scenario} {found.kind} {found.at} ({found.operation}): {'; '.join(found.faults[:4])}")
        sys.stdout.flush()


if __name__ == "__main__":
    torture()
