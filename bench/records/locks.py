"""One computes, the others wait: a lock for each training and each result of a store.

It is held by a process until it ends, however it ends: the system frees it when the process is gone. Where a
file system knows no such locks, as some that are mounted over a network, a file stands for the lock; one that
a killed process left is recognised on the host on which that process ran, and nowhere else (docs/store.md).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what is complete is read without a lock, and sooner without the library
    from filelock import BaseFileLock

from bench.core.json_file import read_json

FOLDER = ".locks"
"""The folder of a store that holds its locks: a file for each that is held, and a note of who holds it."""

_LOOK = 2.0
"""Seconds between two looks at who holds a lock that is waited for."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without locks answer."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    pid: int
    host: str
    since: str  # its clock's local time

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextlib.contextmanager
def locked(root: Path, name: str, what: str, say: Callable[[str], object]) -> Iterator[float]:
    """Hold the lock of that name below the folder of a store; who holds it meanwhile is said.

    `what` is what the lock is for, as in "run 0123". Gives the time when it was taken, in seconds
    since the epoch: what a process left unfinished that is older than that, nobody will finish.
    """
    from filelock import FileLock, SoftFileLock

    place = root / FOLDER
    made = [place, *(folder for folder in (root, *root.parents) if not folder.exists())]
    note, told = place / f"{name}.json", ""
    for lock in (FileLock(place / f"{name}.lock"), SoftFileLock(place / f"{name}.held")):
        try:
            while not _taken(lock, place, 0 if not told else _LOOK):
                holder = str(_holder(note) or "another process")
                if holder != told:
                    say(f"{what} is in the hands of {holder}: waiting until it is done")
                    told = holder
            break
        except (OSError, NotImplementedError) as error:
            no_locks = isinstance(error, NotImplementedError) or error.errno in _NO_LOCKS
            if not no_locks or isinstance(lock, SoftFileLock):
                raise
    now = time.time()
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        note.write_text(json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), since))))
        yield now
    finally:
        for path in (note, Path(lock.lock_file)):  # who waits for a file that is gone makes a new one
            path.unlink(missing_ok=True)
        lock.release()
        _leave_none_empty(made)


def _leave_none_empty(made: list[Path]) -> None:
    """Remove the folders that were made for a lock and nothing else, from the innermost."""
    with contextlib.suppress(OSError):  # something is in it
        for folder in made:
            folder.rmdir()


def _taken(lock: BaseFileLock, place: Path, seconds: float) -> bool:
    """Whether the lock could be taken within that time."""
    from filelock import Timeout

    while True:
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=seconds, poll_interval=0.1)
        except Timeout:
            return False
        except (FileNotFoundError, FileExistsError):  # another process removed the empty folder meanwhile
            if place.is_file() or any(at.is_symlink() and not at.exists() for at in (place, *place.parents)):
                raise
            continue
        return True


def _holder(note: Path) -> Holder | None:
    """Who wrote the note; None: nobody yet, or it cannot be read."""
    try:
        held = read_json(note)
        return Holder(int(held["pid"]), str(held["host"]), str(held["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
