"""A fault at a file operation of a command, then the command again: it must end as if nothing had been."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.children import End, act_in, operations, start, steps
from harness.faults import KILLS, Fault, Operation
from harness.scenarios import Scenario, call, write_data
from harness.snapshot import differences, snapshot

TOLD = ("bench: ", "FAIL ")
"""How a line begins that says what is wrong: a sentence, or a proof of `bench verify` that does not hold."""


@dataclass(frozen=True)
class Injection:
    """One fault, and what came of it."""

    scenario: str
    kind: str
    at: int
    operation: str
    faults: tuple[str, ...]  # what is wrong with how it ended; empty: it was survived
    seen: bool | None = None  # of damage: whether somebody told of it, or nothing came of it


class Bed:
    """One scenario, made ready to be hit again and again."""

    def __init__(self, scenario: Scenario, place: Path) -> None:
        self.scenario, self.place = scenario, place
        self.act = partial(call, scenario.command)
        self.base = place / "work"  # every trial lies here, so that paths that are stored are equal
        self.kept = place / "before"
        shutil.rmtree(place, ignore_errors=True)
        self.base.mkdir(parents=True)
        write_data(self.base)
        steps(self.base, [partial(call, step) for step in scenario.before])
        shutil.copytree(self.base, self.kept)
        end, self.operations = operations(self.base, self.act)
        if end.code != scenario.code or end.raised:
            raise RuntimeError(f"{scenario.name} ended with {end.code}: {end.told}")
        self.expected = snapshot(self.base)

    def places(self, kind: str) -> list[Operation]:
        """The operations that faults of a kind can happen at."""
        return [operation for operation in self.operations if operation.hit_by(kind)]

    def inject(self, kind: str, at: int) -> Injection:
        """One fault, then the command again."""
        self.reset()
        hit = start(self.base, self.act, Fault(kind, at)).end()
        faults = _of_the_hit(hit, kind, self.scenario.code)
        _a_day_later(self.base)
        again = act_in(self.base, self.act)
        faults += _of_an_end("again", again)
        if again.code != self.scenario.code:
            faults.append(f"again: ended with {again.code}: {_last(again.told)}")
        faults += differences(self.expected, snapshot(self.base))
        return Injection(self.scenario.name, kind, at, str(self.places(kind)[at]), tuple(faults))

    def reset(self) -> None:
        """The folder as it was before the command."""
        for path in self.place.iterdir():
            if path != self.kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.kept, self.base)


def spread(bed: Bed, kinds: Sequence[str], most: int) -> Iterator[tuple[str, int]]:
    """Kind and operation of so many faults of each kind, evenly over the operations; all where few are."""
    for kind in kinds:
        count = len(bed.places(kind))
        wanted = min(count, most)
        yield from ((kind, round(k * (count - 1) / max(1, wanted - 1))) for k in range(wanted))


def few(bed: Bed, kinds: Sequence[str], number: int) -> Iterator[tuple[str, int]]:
    """One fault of every other kind, each scenario at other places: its `number` says where.

    A command that can be hit in one way only, as one that writes nothing, is hit in that.
    """
    possible = [kind for kind in kinds if len(bed.places(kind))]
    for place, kind in enumerate(kinds):
        if kind in possible and ((place + number) % 2 == 0 or len(possible) == 1):
            yield kind, (7 * number + 5 * place) % len(bed.places(kind))


def table(done: Sequence[Injection]) -> str:
    """Scenario by kind: how many were injected, and how many were not survived."""
    kinds = list(dict.fromkeys(found.kind for found in done))
    names = list(dict.fromkeys(found.scenario for found in done))
    hit = Counter((found.scenario, found.kind) for found in done)
    lost = Counter((found.scenario, found.kind) for found in done if found.faults)

    def cell(name: str | None, kind: str | None) -> str:
        keys = [k for k in hit if name in (None, k[0]) and kind in (None, k[1])]
        injected, failed = sum(hit[k] for k in keys), sum(lost[k] for k in keys)
        return f"{injected - failed}/{injected}" if injected else "-"

    rows = [["survived / injected", *kinds, "all"]]
    rows += [[name, *(cell(name, kind) for kind in kinds), cell(name, None)] for name in names]
    rows.append(["all", *(cell(None, kind) for kind in kinds), cell(None, None)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _a_day_later(folder: Path) -> None:
    """Date all files of a folder back, so that what was left is as old as it is when people come again."""
    for path in folder.rglob("*"):
        if path.is_file():
            held = path.stat()
            os.utime(path, (held.st_atime - 86_400, held.st_mtime - 86_400))


def _of_the_hit(end: End, kind: str, usual: int) -> list[str]:
    """What is wrong with how a command ended that a fault happened to."""
    if kind in KILLS:
        return ["the fault did not happen"] if end.code is not None else []
    faults = _of_an_end("hit", end)
    if end.code is None:
        faults.append("hit: it died of a signal")
    elif end.code != usual and not any(line.startswith(TOLD) for line in end.told.splitlines()):
        faults.append(f"hit: ended with {end.code} without a sentence: {_last(end.told)}")
    return faults


def _of_an_end(when: str, end: End) -> list[str]:
    if end.stuck:
        return [f"{when}: stuck"]
    return [f"{when}: traceback: {_last(end.told)}"] if end.raised else []


def _last(told: str) -> str:
    lines: list[Any] = told.strip().splitlines() or [""]
    return str(lines[-1])[:300]
