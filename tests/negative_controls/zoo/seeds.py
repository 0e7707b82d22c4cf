"""Every control from several seeds: what is judged already is read from its file, so a run can be resumed."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import bad_attacks
from zoo import broken_attacks, cheats, judge, layers, networks, tuned
from zoo.animals import Control
from zoo.judge import Judged, spec_of

from bench.core.digest import content_id, source_digest, source_digests
from bench.records.store import write_atomically

CHOSE = 5
"""The seeds below this one chose the thresholds of the checks; the others only show what came of it."""


def seeds_of(text: str) -> range:
    """Seeds by how many they are, or from one to before another.

    >>> seeds_of("10"), seeds_of("5:10")
    (range(0, 10), range(5, 10))

    Raises:
        ValueError: the text names none.
    """
    first, _, last = text.rpartition(":")
    try:
        seeds = range(int(first or 0), int(last))
    except ValueError:
        seeds = range(0)
    if not seeds or seeds.start < 0:
        raise ValueError(f"{text!r} names no seeds, expected how many (10) or from:to (5:10)")
    return seeds


def over(controls: Sequence[Control], seeds: Sequence[int], store: Path) -> Iterator[Judged]:
    """What is found about each control from each seed; how far it is, is told on stderr.

    What other code found is judged anew. Networks are kept by the rules of the product's own store, which
    knows nothing of the zoo: so each state of the zoo has a folder of its own.
    """
    for seed in seeds:
        folder = (
            store / _content(bad_attacks, broken_attacks, cheats, layers, networks, tuned) / f"seed_{seed}"
        )
        for number, control in enumerate(controls, 1):
            place = f"seed {seed}, {number} of {len(controls)}: {control.name}"
            print(f"{place} ...", file=sys.stderr, flush=True)
            began = time.perf_counter()
            found = _kept(control, seed, folder)
            spent = f"{time.perf_counter() - began:.0f} s"
            print(f"{place}: {_told(found)}, {spent}", file=sys.stderr, flush=True)
            yield found


def _kept(control: Control, seed: int, folder: Path) -> Judged:
    spec = spec_of(control, seed)
    judges = ["bench.runner.run", *(["bench.audit.audit"] if control.is_audited else [])]
    by = content_id([spec.id, source_digests([*spec.modules, *judges]), _content(judge)])
    path = folder / "verdicts" / f"{control.name}.json"
    if path.is_file():
        held = json.loads(path.read_text(encoding="utf-8"))
        if held["by"] == by:
            return Judged(control, seed, held["told"])
    found = judge.judge(control, folder, seed)
    write_atomically(path, json.dumps({"by": by, "told": dict(found.told)}, indent=1).encode())
    return found


def _told(found: Judged) -> str:
    wrong = [f"missed {code}" for code in sorted(found.missed)]
    wrong += [f"FALSE {code} ({found.told[code]})" for code in sorted(found.false_alarms)]
    return "; ".join(wrong) or "as it should be"


def _content(*modules: ModuleType) -> str:
    return content_id([source_digest(inspect.getsource(module)) for module in modules])
