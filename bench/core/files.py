"""Files of anybody's, opened only where that ends: no pipe, no device, no folder, and nothing too large."""

from __future__ import annotations

import os
import stat
import zipfile
from io import BufferedReader
from pathlib import Path

from bench.errors import BadValue

TEXT = 1 << 30
"""Bytes of a text that is read whole: the examples of a run on ImageNet take a tenth of it."""

WEIGHTS = 1 << 40
"""Bytes of a file of weights; the largest networks have a hundredth of it."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class IsNotRegular(OSError):
    """Something that is no regular file, and may block or never end when it is read."""


class IsTooLarge(OSError):
    """A file, or what it says that it holds, that is larger than anything we read of its kind."""


def regular(path: Path) -> Path:
    """The path, if a regular file is there, or a link to one.

    Raises:
        OSError: nothing is there, or something else; its `strerror` says what.
    """
    mode = _status(path).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise IsNotRegular(None, f"it is {kind}, not a regular file", str(path))
    return path


def at_home(place: str | Path) -> Path:
    """A path as it was typed, where ~ is the home folder.

    >>> at_home("~").is_absolute(), at_home("a/b")
    (True, PosixPath('a/b'))

    Raises:
        BadValue: it begins with ~NAME, and nobody here has that name.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError:
        raise BadValue(
            f"{str(place)!r} begins with the home folder of a user who is not here, expected a path",
            f"./{place}",
        ) from None


def resolved(place: str | Path) -> Path:
    """The same, absolute and without links.

    Raises:
        BadValue: no such path can be.
    """
    try:
        return at_home(place).resolve()
    except (RuntimeError, ValueError, OSError):  # links in a circle, a zero byte, a name that is too long
        raise BadValue(f"{_short(str(place))} is a path that leads nowhere, expected one of a file") from None


def is_there(path: Path) -> bool:
    """Whether anything is at a path; nothing is where no path can be."""
    return os.path.exists(path)  # noqa: PTH110  # Path.exists raises for a name that is too long


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def open_regular(path: Path) -> BufferedReader:
    """A regular file, opened to be read; OSError where it is none."""
    return regular(path).open("rb")


def read_bytes(path: Path, most: int = TEXT) -> bytes:
    """The content of a regular file of at most so many bytes; OSError where it is none."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise IsTooLarge(None, f"it has more than {size(most)}", str(path))
        return file.read()


def read_text(path: Path, most: int = TEXT) -> str:
    """The same as text in UTF-8; UnicodeDecodeError where it is something else."""
    return read_bytes(path, most).decode("utf-8")


def require_memory(wanted: int, path: Path) -> None:
    """Raise IsTooLarge where what a file says that it holds is more than the memory of this machine."""
    there = memory()
    if wanted > there:
        told = f"it says that it holds {size(wanted)}, and this machine has {size(there)} of memory"
        raise IsTooLarge(None, told, str(path))


def require_room(path: Path) -> None:
    """Raise IsTooLarge where a zip archive declares more than the memory of this machine."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            require_memory(sum(part.file_size for part in archive.infolist()), path)


def memory() -> int:
    """Bytes of memory that this machine has; where it does not tell, more than any has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 50


def size(count: int) -> str:
    """A number of bytes, for readers.

    >>> size(512), size(3 << 20), size(5 << 40)
    ('512 bytes', '3 MiB', '5,120 GiB')
    """
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >> bits:
            whole = count >= 100 << bits
            return f"{count >> bits:,} {unit}" if whole else f"{count / (1 << bits):.3g} {unit}"
    return f"{count} bytes"


def why(error: Exception) -> str:
    """Why a file cannot be read, in a few words.

    >>> why(FileNotFoundError(2, "No such file or directory", "x")), why(ValueError("it is no JSON"))
    ('No such file or directory', 'it is no JSON')
    """
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:160] or type(error).__name__


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except ValueError:  # a zero byte in the name
        raise FileNotFoundError(None, "no file can have that name", str(path)) from None
