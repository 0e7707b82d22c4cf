"""Who computes in a store with workers now: a note of each driver, which it takes away at its end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.json_file import read_json
from bench.records.files import write_all

FOLDER = ".workers"
"""The folder of a store where drivers say what their workers do, and meet those of a queue."""


@dataclass(frozen=True)
class AtWork:
    """One worker."""

    name: str
    does: str  # in words; empty: nothing
    answers: int
    seconds: float  # that it computed


@dataclass(frozen=True)
class Driver:
    """One driver with its workers."""

    engine: str  # as it is typed
    pid: int
    host: str
    since: str  # its clock's local time
    workers: tuple[AtWork, ...]

    @property
    def is_there(self) -> bool:
        """Whether it still runs; of another machine nobody knows, and its note is believed."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def note(root: Path, driver: Driver) -> Path:
    """Write what a driver's workers do; gives the file, which the driver removes."""
    path = root / FOLDER / f"{driver.host}-{driver.pid}.json"
    write_all({path: json.dumps(asdict(driver)).encode()}, synced=False)
    return path


def forget(path: Path) -> None:
    """Remove a note, and the folder of notes if it was the last."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def forget_the_gone(root: Path) -> None:
    """Remove the notes of drivers that were killed, as whoever goes on in the store does."""
    for path, driver in _notes(root):
        if not driver.is_there:
            forget(path)


def drivers(root: Path) -> Iterator[Driver]:
    """All drivers that said that they are at work; a note that is being written is passed over."""
    return (driver for _, driver in _notes(root))


def _notes(root: Path) -> Iterator[tuple[Path, Driver]]:
    for path in sorted((root / FOLDER).glob("*.json")):
        try:
            held = read_json(path)
            workers = tuple(AtWork(**one) for one in held.pop("workers"))
            yield path, Driver(**held, workers=workers)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
