"""A name for the content of a user's own data, known before anything is decoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from bench.core.digest import file_sha256
from bench.core.files import is_there, read_bytes, why
from bench.data import folder, hf_data, npy
from bench.data.arrays import located
from bench.data.catalog import HUB, PREFIXES, kind, source, user_path
from bench.errors import BadData

_LOOKED_AT: ContextVar[dict[tuple[str, bool], str | None] | None] = ContextVar("looked_at", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Within it content is read once, as suits a plan of many runs on the same data."""
    token = _LOOKED_AT.set({} if (known := _LOOKED_AT.get()) is None else known)
    try:
        yield
    finally:
        _LOOKED_AT.reset(token)


def identity(name: str, download: bool = False) -> str | None:
    """Twelve hexadecimal digits of the content behind `npz:PATH`, `folder:PATH` and their kin.

    None for a data set with a published name, which is its identity. Bytes are read anew each time, but
    within `one_look`: for 60,000 small pictures that takes as long as to ask for their sizes, and a cache
    might answer for other ones. `download`: what Hugging Face has and its cache lacks may be fetched.

    Raises:
        BadData: there is nothing at that path, no data set, or what cannot be read.
    """
    known = _LOOKED_AT.get()
    if known is None:
        return _identity(name, download)
    if (name, download) not in known:
        known[name, download] = _identity(name, download)
    return known[name, download]


def _identity(name: str, download: bool) -> str | None:
    prefix = kind(name)
    source(name)  # says what is wrong with a name
    if prefix not in PREFIXES:
        return None
    if prefix == HUB:
        return _of_parquet(name, download)
    path = user_path(name)
    if not is_there(path):
        raise BadData(f"there is nothing at {str(path)!r}, which --data {name} names", "--data PREFIX:PATH")
    try:
        return _IDENTITIES[prefix](path)
    except OSError as error:
        raise BadData(f"{error.filename} cannot be read ({why(error)})") from error


def _of_pictures(path: Path) -> str:
    """Of the pictures that would be read, where each lies and its bytes; other files do not count."""
    digest, start = hashlib.sha256(), len(path.as_posix())
    for file in folder.pictures(path):
        digest.update(hashlib.sha256(read_bytes(file)).digest())
        digest.update(os.fsencode(file.as_posix()[start:]) + b"\0")
    return digest.hexdigest()[:12]


def _of_parquet(name: str, download: bool) -> str:
    """Of the files of the split that would be read, in their order, their bytes."""
    digests = [file_sha256(file) for file in hf_data.located(name, download)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


def _of_arrays(path: Path) -> str:
    """Of the files that would be read, which is which and its bytes."""
    digest = hashlib.sha256()
    for name, file in sorted(npy.files(path).items()):
        digest.update(f"{name}\0{file_sha256(file)}\0".encode())
    return digest.hexdigest()[:12]


_IDENTITIES: Mapping[str, Callable[[Path], str]] = {
    "folder": _of_pictures,
    "npz": lambda path: file_sha256(located(path, "npz"))[:12],
    "npy": _of_arrays,
    "pt": lambda path: file_sha256(located(path, "pt"))[:12],
}
