"""How list, board, compare and site grow with the records of a store: time and memory at 100 to 10,000."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.digest import content_id
from benchmarks.timing import Row, Settings

SIZES = (100, 1_000, 10_000)
PUBLISHED = Path(__file__).parents[1] / "leaderboards" / "records"

_COMPARED = ("--suite", "whitebox", "--data", "mnist", "--eps", "0.3")
"""Of the records of a store, about one in seven: all their pairs are tested."""


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    seconds: float
    megabytes: float  # the most memory that it held


def measure(settings: Settings) -> list[Row]:
    """Each command once at every size, in a process of its own."""
    found: dict[tuple[str, int], Cost] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            store = Path(folder) / str(size)
            write_store(store, size)
            for name, words in _commands(store).items():
                settings.say(f"{name}, {size:,} records")
                found[name, size] = cost(words)
    return [
        _row(name, size, found[name, before], found[name, size])
        for name in _commands(Path())
        for before, size in itertools.pairwise(SIZES)
    ]


def write_store(store: Path, size: int) -> None:
    """A store of so many different records, in which every field is one that a published record has."""
    for data in itertools.islice(varied(), size):
        folder = store / str(data["run_id"])
        folder.mkdir(parents=True)
        text = json.dumps(data, indent=1, sort_keys=True) + "\n"
        (folder / "record.json").write_text(text, encoding="utf-8")


def varied() -> Iterator[dict[str, Any]]:
    """Published records, then the same as if other seeds had trained them, without end."""
    published = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(PUBLISHED.glob("*.json"))]
    for number in itertools.count():
        for data in published:
            yield of_another_seed(data, number) if number else data


def of_another_seed(data: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A record as if another seed had trained its network, named by its spec as every record is."""
    made: dict[str, Any] = copy.deepcopy(dict(data))
    made["seed"] += 100 * number
    training = content_id([made["spec"]["training"]["id"], number])
    made["spec"]["training"] |= {"id": training, "seed": made["seed"]}
    if made["training"] is not None:
        made["training"]["training_id"] = training
    made.pop("digest", None)
    return made | {"run_id": content_id(made["spec"])}


def cost(words: tuple[str, ...]) -> Cost:
    """Run a command and wait for it; RuntimeError where it fails."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", _MEASURED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"bench {' '.join(words)} failed: {done.stderr[-500:]}")
    return Cost(seconds, int(done.stderr.splitlines()[-1]) / 1024)


_MEASURED = """
import atexit, pathlib, re, sys
from bench.cli.main import main

def told():
    print(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1], file=sys.stderr)

atexit.register(told)
main(sys.argv[1:])
"""
"""The command, and at its end the most memory that it held, in KiB as Linux tells it."""


def _commands(store: Path) -> dict[str, tuple[str, ...]]:
    return {
        "list": ("list", "runs", "--store", str(store)),
        "board": ("board", "--store", str(store)),
        "compare": ("compare", str(store), *_COMPARED),
        "site": ("site", str(store), "--out", str(store.with_name(f"page-{store.name}"))),
    }


def _row(name: str, size: int, before: Cost, now: Cost) -> Row:
    """How much more a command takes than before, over how many more records there are."""
    pairs = " (pairs: 100 times)" if name == "compare" else ""
    return Row(
        "many_records",
        f"{name}, {size:,} records",
        f"10 times that of {size // 10:,}{pairs}",
        now.seconds / before.seconds / 10,
        bar=None if name == "compare" else 1.2,
        note=f"{now.seconds:.1f} s and {now.megabytes:.0f} MB, before {before.seconds:.1f} s and "
        f"{before.megabytes:.0f} MB",
    )
