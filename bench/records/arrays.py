"""The one reader for files of arrays: nothing in them is run, and all that is wrong is said alike."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bench.core.files import open_regular, regular, require_room

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name, as a cell holds them."""

LIMIT = 2**33
"""Bytes that the arrays of one stored file may take in memory."""

_LONGEST_HEADER = 10_000
"""Characters of the line that describes an array; NumPy's own limit."""


class Unreadable(ValueError):
    """A file of arrays is damaged, or something else; the message says how, in a few words."""


def packed(arrays: Arrays) -> bytes:
    """The arrays as an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **cast(dict[str, Any], arrays))
    return buffer.getvalue()


def unpacked(content: bytes, limit: int = LIMIT) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file.

    Raises:
        Unreadable: it is damaged, holds Python objects, or claims to hold more than `limit` bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > limit:
                raise Unreadable(f"it claims to hold {claimed:,} bytes")
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except Exception as error:  # damage makes zipfile, zlib and NumPy raise whatever they met
        raise Unreadable(reason(error)) from None


def opened(path: Path) -> NDArray[Any]:
    """The array in an npy file, whose content is read from disk when it is asked for.

    Raises:
        OSError: the file cannot be opened.
        Unreadable: it is damaged, no array, or one of Python objects.
    """
    with open_regular(path) as file:
        try:
            _header(file, path.stat().st_size)
            return cast("NDArray[Any]", np.load(path, mmap_mode="r", allow_pickle=False))
        except Exception as error:
            raise Unreadable(reason(error)) from None


class Archive(Mapping[str, NDArray[Any]]):
    """An npz file whose arrays are read one by one, as they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be opened, Unreadable where it is no archive."""
        regular(path)
        try:
            require_room(path)
            self._archive = zipfile.ZipFile(path)
            self._members = {held.filename.removesuffix(".npy"): held for held in self._archive.infolist()}
        except Exception as error:
            raise Unreadable(reason(error)) from None

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One array; KeyError where there is none of that name, Unreadable where it is damaged."""
        member = self._members[name]
        try:
            return _member(self._archive, member)
        except Exception as error:
            raise Unreadable(f"{name}: {reason(error)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()


def reason(error: Exception) -> str:
    """What went wrong, in a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        kind, shape, by_columns = _header(file, member.file_size)
        found = np.frombuffer(file.read(), dtype=kind)  # reads to the end, where the checksum is compared
    return found.reshape(shape, order="F" if by_columns else "C").copy()


def _header(file: IO[bytes], size: int) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Type, shape and order of the array that begins here in a file of that size, which it fills.

    Raises:
        ValueError: it is no array, or one of Python objects, or of another size than it says.
    """
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"it is in version {version} of NumPy's format")
    shape, by_columns, kind = read(file, max_header_size=_LONGEST_HEADER)
    if kind.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if any(length < 0 for length in shape):
        raise ValueError(f"it says that its shape is {shape}")
    said, there = math.prod(shape) * kind.itemsize, size - file.tell()
    if said != there:
        raise ValueError(f"it says that it holds {said:,} bytes, and has {there:,}")
    return kind, shape, by_columns
