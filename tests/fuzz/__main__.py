"""Fuzz every reader and option for as long as one likes: `python -m tests.fuzz --inputs 500000`."""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # the mutations are no part of the package

from fuzzing import genuine
from fuzzing.commands import commands
from fuzzing.drive import Count, drive
from fuzzing.readers import Reader, readers

SHARE = 500
"""Inputs of one reader before it is the next one's turn."""

MEMORY = 12 << 30
"""Bytes that a process may have: what takes more is a fault."""


@click.command()
@click.option("--inputs", type=click.IntRange(1), default=100_000, show_default=True, help="How many in all.")
@click.option("--seconds", type=float, default=1e9, help="Stop after so long.  [when all are through]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The first input's number."
)
@click.option("--only", "names", multiple=True, help="A reader's name or its beginning.  [all]")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Where genuine files are kept.  [a temporary one]"
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the counts there, as JSON.")
def main(
    inputs: int, seconds: float, seed: int, names: tuple[str, ...], keep: Path | None, out: Path | None
) -> None:
    """Feed damaged inputs to every reader, in turn; exit with 1 where one is borne badly."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as place:
        folder = keep or Path(place)
        if not (folder / "d.npz").exists():
            folder.mkdir(exist_ok=True)
            genuine.make(folder)
        chosen = [r for r in _all(folder) if not names or r.name.startswith(names)]
        counts = _in_turn(chosen, inputs, seed, folder, time.monotonic() + seconds)
    _tell(counts, out)
    sys.exit(any(count.faults for count in counts.values()))


def _all(folder: Path) -> list[Reader]:
    return [*readers(folder).values(), *commands(folder).values()]


def _in_turn(chosen: list[Reader], inputs: int, seed: int, folder: Path, until: float) -> dict[str, Count]:
    counts = {reader.name: Count() for reader in chosen}
    place = folder / "inputs"
    place.mkdir(exist_ok=True)
    left, begin = inputs, seed
    while left > 0 and time.monotonic() < until:
        for reader in chosen:
            share = min(reader.share or SHARE, left)
            print(f"\r{inputs - left:,} of {inputs:,}: {reader.name}\033[K", end="", file=sys.stderr)
            made = drive(reader, range(begin, begin + share), place, until)
            total = counts[reader.name]
            total.inputs += made.inputs
            total.refused += made.refused
            total.seconds += made.seconds
            for where, (number, text) in made.faults.items():
                if where not in total.faults:
                    print(f"\n{reader.name}, input {number}: {where}\n{text}", file=sys.stderr)
                    total.faults[where] = number, text
            left -= made.inputs
            if left <= 0 or time.monotonic() > until:
                break
        begin += SHARE
    return counts


def _tell(counts: dict[str, Count], out: Path | None) -> None:
    print(file=sys.stderr)
    print(f"{'reader':28} {'inputs':>9} {'refused':>9} {'per s':>7} {'faults':>6}")
    for name, count in counts.items():
        speed = count.inputs / count.seconds if count.seconds else 0
        print(f"{name:28} {count.inputs:9,} {count.refused:9,} {speed:7.0f} {len(count.faults):6}")
    print(f"{'all':28} {sum(count.inputs for count in counts.values()):9,}")
    if out is not None:
        told = {
            n: {"inputs": c.inputs, "refused": c.refused, "faults": sorted(c.faults)}
            for n, c in counts.items()
        }
        out.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
