"""Several processes at once in one store: whoever comes first or is killed, the results are the same."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.children import Child, End, act_in, operations, start
from harness.faults import Fault
from harness.injections import Injection
from harness.scenarios import EPOCH, SCENARIOS, TWO, Words, call, write_data
from harness.snapshot import differences, snapshot

_STUDENT = ("--defense", "agkd_bml", *EPOCH[2:])
SMALL = ("--examples", "12", "--eps", "0.2")
CURVE = SCENARIOS["curve"].command


@dataclass(frozen=True)
class Race:
    """Commands that begin at the same moment."""

    name: str
    commands: tuple[Words, ...]


assert not callable(CURVE)
RACES: Mapping[str, Race] = {
    race.name: race
    for race in (
        Race("two identical runs", (TWO, TWO)),
        Race("three identical runs", (TWO, TWO, TWO)),
        Race("three identical trainings", (("train", *EPOCH),) * 3),
        Race(
            "two runs of one training",
            (("run", *EPOCH, *SMALL, "--attack", "fgsm"), ("run", *EPOCH, *SMALL, "--attack", "pgd")),
        ),
        Race(
            "two students of one teacher",
            (("train", *_STUDENT), ("train", *_STUDENT, "--set", "defense.margin=0.05")),
        ),
        Race("two identical curves", (CURVE, CURVE)),
    )
}
"""By name."""


class Track:
    """A store in which the commands of a race are given one after the other, then at once."""

    def __init__(self, race: Race, place: Path) -> None:
        self.race, self.base = race, place / "work"
        self.acts = [partial(call, words) for words in race.commands]
        self.reset()
        for act in self.acts:
            end = act_in(self.base, act)
            if end.code:
                raise RuntimeError(end.told)
        self.expected = snapshot(self.base)
        self.reset()
        self.operations = operations(self.base, self.acts[0])[1]

    def run(self, kind: str, at: int) -> Injection:
        """All at once; by "race and kill" the first is killed at an operation, and given again at the end."""
        self.reset()
        fault = Fault("kill", at) if kind == "race and kill" else None
        first = start(self.base, self.acts[0], fault)
        others = [start(self.base, act) for act in self.acts[1:]]
        faults = _killed(first.end()) if fault else _of(first)
        for child in others:
            faults += _of(child)
        for act in self.acts[:1] if fault else ():
            faults += _of(start(self.base, act))
        faults += differences(self.expected, snapshot(self.base))
        where = str(self.operations[at]) if fault else "all at once"
        return Injection(self.race.name, kind, at, where, tuple(faults))

    def reset(self) -> None:
        """An empty store."""
        shutil.rmtree(self.base.parent, ignore_errors=True)
        self.base.mkdir(parents=True)
        write_data(self.base)


def moments(track: Track, most: int) -> Sequence[tuple[str, int]]:
    """How often the commands begin at once, and at which operations the first of them is killed."""
    count = len([operation for operation in track.operations if operation.hit_by("kill")])
    kills = [("race and kill", round(k * (count - 1) / max(1, most - 1))) for k in range(min(most, count))]
    return [*(("race", k) for k in range(most)), *kills]


def _killed(end: End) -> list[str]:
    """A kill may come too late, where another process has done the work."""
    return ["the first is stuck"] if end.stuck else []


def _of(child: Child) -> list[str]:
    end = child.end()
    if end.stuck:
        return ["stuck"]
    return [f"ended with {end.code}: {end.told.strip().splitlines()[-1][:300]}"] if end.code else []
