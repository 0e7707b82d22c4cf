"""Steps on a card, each a line and a JSON file, until the minutes are over: `python -m benchmarks.gpu`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import click

from bench.core.json_file import read_json
from bench.errors import BadData
from bench.records.files import write_atomically
from benchmarks.gpu.place import Failed, OutOfTime, Place
from benchmarks.gpu.steps import Found, Step, steps


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(min=0), default=9.0, show_default=True, help="Then it stops."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the JSON files, of weights and of runs; what is there is not done again.",
)
@click.option(
    "--pictures",
    default="cifar10",
    show_default=True,
    help="Colour images of 32x32 to train on, as bench run --data takes them.",
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--only", multiple=True, type=click.Choice([*steps()]), help="This step; repeatable.  [all]")
def main(minutes: float, out: Path, pictures: str, data_root: Path | None, only: tuple[str, ...]) -> None:
    """Measure on the card of this machine, most worth first; the same command goes on where it stopped.

    Without a card it runs in small on the pretend device, and nothing of it is a measurement. Exits with 1 if
    a step failed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    pretended = not torch.cuda.is_available()
    if pretended:
        click.echo("no card here: in small on the pretend device, and these are no measurements")
    place = Place(out.resolve(), pictures, data_root, pretended, time.monotonic() + 60 * minutes)
    out.mkdir(parents=True, exist_ok=True)
    chosen = {name: step for name, step in steps().items() if not only or name in only}
    ok = True
    for number, (name, step) in enumerate(chosen.items(), 1):
        file = out / f"{name}.json"
        found = _done(file, pretended)
        again = found is not None
        if found is None and place.left() > 0:
            found = _play(place, name, step)
        if found is None:
            left = len(chosen) - number + 1
            click.echo(f"the minutes are over and {left} steps are left: the same command goes on")
            break
        if not again:
            write_atomically(file, (json.dumps(found, indent=2) + "\n").encode())
        ok &= bool(found["ok"])
        click.echo(f"{number}/{len(chosen)} {name}: {_line(found, again)}")
    sys.exit(not ok)


def _done(file: Path, pretended: bool) -> Found | None:
    """What the file of a step holds that went well on the same kind of card."""
    if not file.exists():
        return None
    try:
        found: Found = read_json(file)
        return found if found["ok"] and found["pretended"] is pretended else None
    except (BadData, KeyError, TypeError):
        return None


def _play(place: Place, name: str, step: Step) -> Found | None:
    """What a step found, or how it failed; None: the minutes were over."""
    began = time.monotonic()
    try:
        found = {"ok": True, **step(place)}
    except OutOfTime:
        return None
    except Exception as error:  # whatever a card does: the next step is tried
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        if not isinstance(error, Failed):
            click.echo(f"{name}: {error!r}", err=True)
    seconds = round(time.monotonic() - began, 1)
    return {"step": name, "pretended": place.pretended, "seconds": seconds, **found}


def _line(found: Found, again: bool) -> str:
    """A step in one line."""
    state = "ok" if found["ok"] else "FAILED"
    told = str(found.get("error", "")).strip().splitlines()[-1:]
    return ", ".join([state, f"{found['seconds']} s", *(["done before"] if again else []), *told])


if __name__ == "__main__":
    main()
