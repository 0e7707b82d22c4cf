"""Times of pieces of work that are measured in turns, and the ratios between them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """How much is measured, and where."""

    device: torch.device
    batch: int  # images
    rounds: int  # paired measurements
    bf16: bool  # whether rows in bfloat16 are measured
    say: Callable[[str], None]  # told what is under way
    architecture: str = "resnet18"  # of attack and training steps
    defenses: tuple[str, ...] = ()  # whose steps are counted and measured; empty: all
    networks: tuple[
        str, ...
    ] = ()  # that the cascade attacks: DATA:DEFENSE@ARCHITECTURE; empty: its own choice
    recipe: str = "short"  # by which those are trained
    examples: int | None = None  # of each data set; None: all
    seeds: int = 1  # of the attacks on each network
    stale: Literal["refuse", "rerun", "accept"] = "refuse"  # what is done with what other code made
    store: Path | None = None  # where those networks and runs are kept; None: nowhere
    data_root: Path | None = None


@dataclass(frozen=True)
class Spent:
    """What one piece of work took, in seconds."""

    wall: float
    cpu: float  # of all threads of this process: other processes hardly change it


@dataclass(frozen=True)
class Row:
    """One line of the table: a ratio with its bar, or a count with the number that a formula gives."""

    benchmark: str
    what: str
    over: str  # what it is divided by, or the formula
    value: float | None  # the median of the paired ratios, or the count; None: not measured
    low: float | None = None
    high: float | None = None
    cpu: float | None = None  # the median ratio of processor times
    bar: float | None = None  # the largest ratio allowed, or what the formula gives; None: information
    exact: bool = False  # a count: it must be equal to the bar
    note: str = ""

    @property
    def held(self) -> bool | None:
        """Whether the bar holds; None without a bar or a value."""
        if self.value is None or self.bar is None:
            return None
        return self.value == self.bar if self.exact else self.value <= self.bar


class Stopwatch:
    """Collects what each named piece of work took, round by round."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spent: dict[str, list[Spent]] = {}

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Time the body, until the device has finished it."""
        self._wait()
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._wait()
        self._spent.setdefault(name, []).append(Spent(time.perf_counter() - wall, time.process_time() - cpu))

    def row(
        self,
        benchmark: str,
        name: str,
        over: str,
        *,
        scale: float = 1.0,
        bar: float | None = None,
        note: str = "",
    ) -> Row:
        """The ratio of two pieces of work, paired by round, times `scale`."""
        pairs = list(zip(self._spent[name], self._spent[over], strict=True))
        ratios = sorted(scale * ours.wall / theirs.wall for ours, theirs in pairs)
        # a GPU's work does not show in processor time
        cpu = [scale * ours.cpu / theirs.cpu for ours, theirs in pairs] if self._device.type == "cpu" else []
        return Row(
            benchmark,
            name,
            over,
            statistics.median(ratios),
            ratios[0],
            ratios[-1],
            statistics.median(cpu) if cpu else None,
            bar,
            note=note,
        )

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def take_turns(works: Mapping[str, Work], settings: Settings) -> Stopwatch:
    """Time every work once a round; the order turns round each time, so that a drift cancels."""
    watch = Stopwatch(settings.device)
    for number in range(settings.rounds):
        settings.say(f"round {number + 1} of {settings.rounds}")
        order = list(works) if number % 2 == 0 else list(works)[::-1]
        for name in order:
            with watch.timing(name):
                works[name]()
    return watch
