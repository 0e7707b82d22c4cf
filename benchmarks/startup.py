"""How long commands take before there is anything to compute, over importing torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable

from benchmarks.timing import Row, Settings, take_turns

_TORCH = "import torch"
_RUN = ("run", "--defense", "standard", "--suite", "smoke", "--set", "recipe.epochs=1", "--store")


def measure(settings: Settings) -> list[Row]:
    """Each command in a process of its own; the run trains one epoch on digits before it is measured."""
    with tempfile.TemporaryDirectory() as store:
        works = {
            _TORCH: python("-c", _TORCH),
            "a complete run answers": bench(*_RUN, store),
            "a mistyped defense": bench("run", "--defense", "pgdat", "--suite", "smoke", code=2),
            "all that a run imports": python("-c", "import bench.runner.run"),
            "bench list": bench("list", "--store", store),
        }
        settings.say("warming up")
        for work in (bench(*_RUN, store), *works.values()):
            work()
        watch = take_turns(works, settings)
    bars = {"a complete run answers": 0.5, "a mistyped defense": 0.3, "all that a run imports": 1.2}
    rows = [watch.row("startup", name, _TORCH, bar=bars.get(name)) for name in works if name != _TORCH]
    return [dataclasses.replace(row, cpu=None) for row in rows]  # processor time is that of this process


def bench(*arguments: str, code: int = 0) -> Callable[[], None]:
    """Work that runs the command and expects its exit code."""
    return python("-m", "bench", *arguments, code=code)


def python(*arguments: str, code: int = 0) -> Callable[[], None]:
    """Work that runs Python and expects its exit code."""

    def work() -> None:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(arguments)} exited with {done.returncode}: {done.stderr}")

    return work
