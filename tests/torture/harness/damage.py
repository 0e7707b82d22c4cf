"""Every file of a store damaged, exchanged, replaced: it is seen, or harmless, and never changes a number."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.children import End, act_in, steps
from harness.injections import Injection
from harness.scenarios import SCENARIOS, TWO, Words, call, write_data
from harness.snapshot import content, snapshot

WAYS = ("removed", "emptied", "truncated", "flipped", "exchanged", "of another run")
"""Kinds of damage: two files exchanged are neighbours of one kind; another run's has the same role there."""

FLIPS = 6
"""Places of a file, evenly spread, in which one bit is turned."""

FILLING = ("run", "train", "curve", "shift", "transfer", "detect", "diagnose", "certify", "import")
"""The scenarios whose results are in the store."""

RESULTS = (
    "record.json",
    "curve.json",
    "shift.json",
    "matrix.json",
    "detection.json",
    "diagnosis.json",
    "certificate.json",
)
READERS: tuple[Words, ...] = (
    ("list", "runs"),
    ("board",),
    ("show", "record", "linear_defense.py:Linear"),
    ("audit", "--all", "--stored"),
    ("verify", "linear_defense.py:Linear", "--cells", "all"),
)


class Ward:
    """A store of every kind of result, and another of the same kinds, to damage again and again."""

    def __init__(self, place: Path) -> None:
        self.place, self.base, self.kept = place, place / "work", place / "kept"
        self.other = place / "other"
        shutil.rmtree(place, ignore_errors=True)
        for folder, more in ((self.other, ("--seed", "1")), (self.base, ())):
            folder.mkdir(parents=True)
            write_data(folder)
            steps(folder, list(_fillings(more)))
        shutil.copytree(self.base, self.kept)
        self.expected = snapshot(self.base)
        self.trained = next((self.base / "runs" / "models").glob("*/log.csv")).parent.name
        self.files = sorted(
            p.relative_to(self.base)
            for p in (self.base / "runs").rglob("*")
            if p.is_file() and ".locks" not in p.parts
        )

    def cases(self) -> Iterator[tuple[Path, str]]:
        """Every file with everything that can be done to it."""
        for file in self.files:
            size = (self.kept / file).stat().st_size
            hows = ["removed", "emptied", "truncated", *(f"flipped at {k}/{FLIPS}" for k in range(FLIPS))]
            yield from ((file, how) for how in hows if size or how == "removed")
            if self.neighbour(file) is not None:
                yield file, "exchanged"
            if self.counterpart(file) is not None:
                yield file, "of another run"

    def neighbour(self, file: Path) -> Path | None:
        """Another file of the same kind in this store, the nearest after it."""
        alike = [other for other in self.files if other.suffix == file.suffix and other.name == file.name]
        if len(alike) < 2:
            alike = [other for other in self.files if other.suffix == file.suffix]
        place = alike.index(file)
        return alike[(place + 1) % len(alike)] if len(alike) > 1 else None

    def counterpart(self, file: Path) -> Path | None:
        """The file of the other store in the same role: as deep, as it is called, in the same folder."""
        parts = file.parts
        pattern = "/".join("*" if _is_id(part) else part for part in parts)
        found = [p for p in sorted(self.other.glob(pattern)) if p.relative_to(self.other) != file]
        return found[0] if found else None

    def harm(self, number: int, file: Path, how: str) -> Injection:
        """Do it, then call everything that reads the file."""
        faults: list[str] = []
        seen = False
        for resumed in (False, True):
            self._reset(file, how)
            if resumed:
                _forget_results(self.base, file)
            else:
                faults += _crash("readers", act_in(self.base, _read_all))
            end = act_in(self.base, partial(call, _command_of(file, self.trained)))
            faults += _crash("again", end)
            seen |= end.code not in (0, None)
            faults += self._numbers(end)
        self._reset(file, how)
        looked = act_in(self.base, partial(call, ("fsck", "--json")))
        faults += _crash("fsck", looked)
        seen |= looked.code == 1
        faults += self._mended(file)
        return Injection(
            kind_of(file), kind_of_damage(how), number, f"{how}: {file}", tuple(dict.fromkeys(faults)), seen
        )

    def _reset(self, file: Path, how: str) -> None:
        shutil.rmtree(self.base)
        shutil.copytree(self.kept, self.base)
        self._damage(file, how)

    def _damage(self, file: Path, how: str) -> None:
        path = self.base / file
        data = path.read_bytes()
        if how == "removed":
            path.unlink()
        elif how == "exchanged":
            other = self.neighbour(file)
            assert other is not None
            path.write_bytes((self.base / other).read_bytes())
            (self.base / other).write_bytes(data)
        elif how == "of another run":
            counterpart = self.counterpart(file)
            assert counterpart is not None
            path.write_bytes(counterpart.read_bytes())
        else:
            path.write_bytes(_DAMAGES[how.partition(" ")[0]](data, how))

    def _numbers(self, end: End) -> list[str]:
        """Results that differ from those of an undamaged store, where the command said that all is well."""
        if end.code != 0:
            return []
        told = []
        for name, expected in self.expected.items():
            path = self.base / name
            if path.name in RESULTS and path.is_file():
                found = content(path, self.base)
                if isinstance(found, dict) and _measured(found, found) != _measured(expected, found):
                    told.append(f"again: {name} has other numbers")
        return told

    def _mended(self, file: Path) -> list[str]:
        """What is still wrong after `fsck --repair` and the command again."""
        repaired = act_in(self.base, partial(call, ("fsck", "--repair")))
        end = act_in(self.base, partial(call, _command_of(file, self.trained)))
        clean = act_in(self.base, partial(call, ("fsck",)))
        faults = _crash("repair", repaired) + _crash("after repair", end)
        if repaired.code == 1 and clean.code != 0:
            faults.append(f"after repair: fsck still says {clean.told.strip().splitlines()[-2:]}")
        if repaired.code == 1 and end.code != 0:
            faults.append(f"after repair: ended with {end.code}: {end.told.strip().splitlines()[-1:]}")
        return faults + [fault.replace("again", "after repair") for fault in self._numbers(end)]


_DAMAGES: dict[str, Callable[[bytes, str], bytes]] = {
    "emptied": lambda data, how: b"",
    "truncated": lambda data, how: data[: len(data) // 2],
    "flipped": lambda data, how: flipped(data, int(how.rpartition(" ")[2].partition("/")[0])),
}


def flipped(data: bytes, number: int) -> bytes:
    """The content with one bit turned, at the n-th of some places that are spread over it."""
    place = number * (len(data) - 1) // max(1, FLIPS - 1)
    return data[:place] + bytes([data[place] ^ (1 << (number + place) % 7)]) + data[place + 1 :]


def _fillings(more: Sequence[str]) -> Iterator[Callable[[], int]]:
    """What fills a store; `more` makes other results of the same kinds."""
    for name in FILLING:
        for step in SCENARIOS[name].steps():
            yield partial(call, step if callable(step) else (*step, *more))


def _command_of(file: Path, trained: str) -> Words:
    """The command that reads a file, as it was typed; `trained` is the training that nothing attacks."""
    named = {
        "curves": "curve",
        "shift": "shift",
        "transfer": "transfer",
        "detection": "detect",
        "detectors": "detect",
        "diagnostics": "diagnose",
        "certificates": "certify",
    }
    name = named.get(file.parts[1])
    if name is None and file.parts[1] == "models":
        name = "train" if file.parent.name == trained else "transfer"
    command = SCENARIOS[name].command if name else TWO
    assert not callable(command)
    return command


def _forget_results(folder: Path, file: Path) -> None:
    """Take away the results of what the file belongs to, as if they were still to be made."""
    for path in (folder / "runs").rglob("*"):
        if path.name in RESULTS and path != folder / file:
            path.unlink()


def _measured(result: Mapping[str, Any], remade: Mapping[str, Any]) -> dict[str, Any]:
    """What a result measured; one that was made anew may lack images, and what others' images came to."""
    lacking = {name for name in ("evidence", "imported") if not remade.get(name)}
    return {name: value for name, value in result.items() if name not in lacking}


def _crash(when: str, end: End) -> list[str]:
    if end.stuck:
        return [f"{when}: stuck"]
    if end.raised or end.code is None or end.code not in (0, 1, 2, 3):
        return [f"{when}: traceback: {end.told.strip().splitlines()[-1][:200]}"]
    said = any(line.startswith("bench: ") for line in end.told.splitlines())
    return [f"{when}: ended with 2 without a sentence"] if end.code == 2 and not said else []


def kind_of(file: Path) -> str:
    """What a file is, whichever result it belongs to.

    >>> kind_of(Path("runs/0123456789ab/cells/fgsm/0000.npz"))
    'damage: cells'
    """
    if "cells" in file.parts:
        return "damage: cells"
    if file.name.startswith("imported-"):
        return "damage: imported images"
    kept = [part for part in file.parts[1:] if not _is_id(part.partition(".")[0])]
    return f"damage: {'/'.join(kept)}"


def kind_of_damage(how: str) -> str:
    """Which of the kinds it is, wherever in the file.

    >>> kind_of_damage("flipped at 3/6")
    'flipped'
    """
    return how.partition(" at ")[0]


def cases(ward: Ward, kinds: Sequence[str], most: int) -> Iterator[tuple[int, tuple[Path, str]]]:
    """The cases of these kinds with their numbers, at most so many of each kind of file and of damage."""
    met: Counter[tuple[str, str]] = Counter()
    for number, (file, how) in enumerate(ward.cases()):
        kind = kind_of_damage(how)
        met[kind_of(file), kind] += 1
        if kind in kinds and met[kind_of(file), kind] <= most:
            yield number, (file, how)


def few(ward: Ward) -> Iterator[tuple[int, tuple[Path, str]]]:
    """Some cases with their numbers: one of each kind of file, each in another way."""
    met: set[str] = set()
    for number, (file, how) in enumerate(ward.cases()):
        if kind_of(file) not in met and number % 11 == len(met) % 11:
            met.add(kind_of(file))
            yield number, (file, how)


def _read_all() -> int:
    """Call all commands that read a store; the worst of their exit codes that is no sentence."""
    return max((call(words) for words in READERS), key=lambda code: code not in (0, 1, 2))


def _is_id(part: str) -> bool:
    return len(part) == 12 and set(part) <= set("0123456789abcdef")
