"""One fault at one file operation of this process: a kill, a power cut, a full disk, an error of the device.

`install` counts the operations on files below a folder, as the interpreter announces them (audit events) and
as files are written. It is meant for a process that has been forked for it: nothing is put back.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILLS = ("kill", "half", "power")
"""Kinds that end the process: before an operation, in the middle of a write, and with what was not synced."""

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EINTR": errno.EINTR}
"""Kinds that are raised: the disk is full from there on; the device fails once, or a call is interrupted."""

READS = ("read",)
"""Kinds that hit a file that is opened to be read: the device fails once."""

KINDS = (*KILLS, *ERRORS, *READS)

_NEEDS_ROOM = ("create", "write", "fsync", "mkdir")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Fault:
    """What happens at which operation, counted from 0 among those that the kind hits."""

    kind: str
    at: int


@dataclass(frozen=True)
class Operation:
    """One operation on a file below the folder."""

    name: str
    path: str  # below the folder

    def __str__(self) -> str:
        return f"{self.name} {self.path}"

    def hit_by(self, kind: str) -> bool:
        """Whether a fault of this kind can happen here."""
        if kind == "half":
            return self.name == "write"
        if kind == "ENOSPC":
            return self.name in _NEEDS_ROOM
        return (self.name == "read") == (kind in READS)


def install(folder: Path, fault: Fault | None, log: list[Operation]) -> None:
    """Count the operations of this process below the folder into `log`, and let the fault happen."""
    watch = _Watch(folder, fault, log)
    sys.addaudithook(watch.event)
    io.open = builtins.open = _opener(watch)  # type: ignore[assignment]
    os.fsync = watch.synced(os.fsync)
    os.write = watch.written(os.write)  # type: ignore[assignment]


class _Watch:
    """The operations so far, and what of them is not yet safe from a power cut."""

    def __init__(self, folder: Path, fault: Fault | None, log: list[Operation]) -> None:
        self.folder, self.fault, self.log = f"{folder.resolve()}{os.sep}", fault, log
        self.hits, self.busy = 0, False
        self.unsynced: dict[tuple[int, int], str] = {}  # inode -> where it lies
        self.renamed: list[tuple[str, str, str | None]] = []  # from, to, a copy of what was there before

    def event(self, name: str, given: tuple[Any, ...]) -> None:
        """An audit event of the interpreter."""
        if self.busy:
            return
        if name == "open":
            path, _, flags = given
            if isinstance(path, int):  # a file that is open already
                return
            writes = isinstance(flags, int) and flags & _WRITING
            self.reach("create" if writes else "read", path)
        elif name == "os.rename":
            self.reach("rename", given[1], given[3])
            self._note_rename(given[0], given[1])
        elif name in _EVENTS:
            self.reach(_EVENTS[name], given[0], given[1] if name in _WITH_FOLDER else -1)

    def reach(self, name: str, path: Any, folder: int = -1, write: Callable[[], None] | None = None) -> None:
        """Before an operation: count it, and let the fault happen if this is its place."""
        place = self._place(path, folder)
        if place is None:
            return
        operation = Operation(name, place)
        self.log.append(operation)
        if self.fault is None or not operation.hit_by(self.fault.kind):
            return
        number, self.hits = self.hits, self.hits + 1
        if number == self.fault.at or (number > self.fault.at and self.fault.kind == "ENOSPC"):
            self._strike(self.fault.kind, self.folder + place, write)

    def synced(self, fsync: Callable[[Any], None]) -> Callable[[Any], None]:
        """`os.fsync` that is counted: what it was asked of survives a power cut."""

        def counted(file: Any) -> None:
            number = file if isinstance(file, int) else file.fileno()
            self.reach("fsync", number)
            fsync(number)
            held, path = os.fstat(number), _path_of(number)
            self.unsynced.pop((held.st_dev, held.st_ino), None)
            self.renamed = [entry for entry in self.renamed if os.path.dirname(entry[1]) != path]

        return counted

    def written(self, write: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        """`os.write` that is counted."""

        def counted(number: int, data: Any) -> int:
            self.reach("write", number, write=lambda: _write_half(write, number, data))
            self.note_written(number)
            return write(number, data)

        return counted

    def note_written(self, number: int) -> None:
        """A file has content that is not yet synced."""
        path = _path_of(number)
        if path.startswith(self.folder):
            held = os.fstat(number)
            self.unsynced[held.st_dev, held.st_ino] = path

    def _note_rename(self, old: Any, new: Any) -> None:
        if self.fault is None or self.fault.kind != "power":
            return
        start, end = (str(Path(os.fsdecode(path)).absolute()) for path in (old, new))
        if not end.startswith(self.folder):
            return
        copy = f"{self.folder.rstrip(os.sep)}.before-{len(self.log)}"
        self.busy = True
        try:
            os.link(end, copy)
        except FileNotFoundError:
            copy = ""
        finally:
            self.busy = False
        self.renamed.append((start, end, copy or None))
        for inode, path in self.unsynced.items():
            if path == start:
                self.unsynced[inode] = end

    def _strike(self, kind: str, path: str, write: Callable[[], None] | None) -> None:
        self.busy = True
        if kind in KILLS:
            if kind == "half" and write is not None:
                write()
            if kind == "power":
                self._lose()
            os.kill(os.getpid(), signal.SIGKILL)
        number = errno.EIO if kind in READS else ERRORS[kind]
        self.busy = False
        raise OSError(number, os.strerror(number), path)

    def _lose(self) -> None:
        """A power cut: unsynced content is gone, and renames that were not synced did not happen."""
        for path in self.unsynced.values():
            if os.path.exists(path):
                os.truncate(path, 0)
        for old, new, copy in reversed(self.renamed):
            if os.path.exists(new):
                os.rename(new, old)
            if copy is not None:
                os.rename(copy, new)

    def _place(self, path: Any, folder: int) -> str | None:
        """A path below the folder; None: it lies elsewhere."""
        if isinstance(path, int):
            text = _path_of(path)
        elif folder is not None and folder >= 0:
            text = os.path.join(_path_of(folder), os.fsdecode(path))
        else:
            try:
                text = os.path.abspath(os.fsdecode(path))
            except TypeError:
                return None
        return text[len(self.folder) :] if text.startswith(self.folder) else None


_EVENTS = {
    "os.remove": "unlink",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
    "os.chmod": "chmod",
    "os.link": "link",
    "os.symlink": "symlink",
}
_WITH_FOLDER = ("os.remove", "os.rmdir")


def _path_of(number: int) -> str:
    """Where an open file lies, as Linux tells it."""
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def _write_half(write: Callable[[int, Any], int], number: int, data: Any) -> None:
    write(number, bytes(data)[: len(data) // 2])


def _opener(watch: _Watch) -> Callable[..., Any]:
    """`open` that gives files whose writes are counted."""
    plain = io.open
    write = os.write

    class Counted(io.FileIO):
        """A file that is written to."""

        def write(self, data: Any) -> int:
            watch.reach("write", self.fileno(), write=lambda: _write_half(write, self.fileno(), data))
            watch.note_written(self.fileno())
            return super().write(data) or 0

    def counting(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if not set(mode) & set("wxa+"):
            return plain(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = Counted(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        held = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        return held if "b" in mode else io.TextIOWrapper(held, encoding, errors, newline)

    return counting
