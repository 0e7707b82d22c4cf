"""The one way in which results are written: a temporary file, sync, rename, sync of the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from bench.core.files import regular
from bench.errors import BadValue

_TEMPORARY = re.compile(r"\..+\.([a-z0-9_]{8}|part)")
"""What a file is called until it is whole; `.part` was so in older versions."""

_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP}
"""What some network file systems answer to a sync of a folder."""


ABANDONED = 3600.0
"""Seconds after which nobody writes a temporary file any more."""


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it exists whole or not at all, even if power fails."""
    write_all({path: content})


def write_all(files: Mapping[Path, bytes | memoryview], *, synced: bool = True) -> None:
    """Write each file so that it exists whole or not at all, and take away what killed writers left of them.

    `synced`: even if power fails, which takes most of the time; not for what is made anew in a moment.
    """
    _forget_abandoned(files)
    for path, content in files.items():
        with writing(path, synced=synced) as file:
            file.write(content)


@contextlib.contextmanager
def writing(path: Path, *, synced: bool = True) -> Iterator[IO[bytes]]:
    """The same for what is written piece by piece."""
    if path.exists():
        regular(path)  # a device or a pipe would be replaced by a file
    _make(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    if synced:
        _sync(path.parent)


def target(name: str) -> str | None:
    """What a temporary file is called when it is whole; None: it is no temporary file."""
    return name[1:].rpartition(".")[0] if _TEMPORARY.fullmatch(name) else None


def leftovers(folder: Path, before: float | None = None) -> list[Path]:
    """The temporary files below a folder that a killed process left; `before`: last written before that time.

    The time is in seconds since the epoch, as in `time.time()`. None: of any age.
    """
    found = []
    for path in sorted(folder.rglob(".*")):
        with contextlib.suppress(FileNotFoundError):  # its writer was not killed, and gave it its name
            old = before is None or path.stat().st_mtime < before
            if old and path.is_file() and _TEMPORARY.fullmatch(path.name):
                found.append(path)
    return found


def sweep(folder: Path, before: float) -> None:
    """Remove the leftovers below a folder in which nobody else writes."""
    for path in leftovers(folder, before):
        path.unlink(missing_ok=True)


def require_writable(folder: Path, what: str, hint: str) -> None:
    """Raise BadValue unless the folder can be written to, or made; nothing is left behind."""
    nearest = folder.absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadValue(
            f"the {what} {str(folder)!r} cannot be written to ({reason}), expected a writable folder", hint
        ) from None


def _forget_abandoned(files: Iterable[Path]) -> None:
    """Remove the temporary files of these very files that nobody writes any more, wherever they lie."""
    before = time.time() - ABANDONED
    names: dict[Path, set[str]] = {}
    for path in files:
        names.setdefault(path.parent, set()).add(path.name)
    for folder, ours in names.items():
        for path in folder.glob(".*.*"):
            with contextlib.suppress(FileNotFoundError):
                if target(path.name) in ours and path.is_file() and path.stat().st_mtime < before:
                    path.unlink()


def _make(folder: Path) -> None:
    """The folder, and the names of all that had to be made for it, on disk."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in new:
        _sync(place.parent)


def _sync(folder: Path) -> None:
    """Put the names in a folder on disk."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


def is_plain(name: object) -> bool:
    """Whether something is the name of a file in a folder, and leads nowhere else.

    >>> is_plain("best.safetensors"), is_plain(".."), is_plain("a/b"), is_plain("")
    (True, False, False, False)
    """
    return isinstance(name, str) and re.fullmatch(r"(?!\.)[\w.-]{1,100}", name) is not None
