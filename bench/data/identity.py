"""A name for the content of a user's own data, known before anything is decoded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bench.core.digest import file_sha256
from bench.data import folder, npz
from bench.data.catalog import PREFIXES, source, user_path
from bench.errors import BadData


def identity(name: str) -> str | None:
    """Twelve hexadecimal digits of the content behind `npz:PATH` or `folder:PATH`.

    None for a data set with a published name, which is its identity. Bytes are read anew each time:
    for 60,000 small pictures that takes as long as to ask for their sizes, and a cache might answer for other
    ones.

    Raises:
        BadData: there is nothing at that path, no data set, or what cannot be read.
    """
    prefix = name.partition(":")[0]
    if prefix not in PREFIXES:
        source(name)  # says what is wrong with a name
        return None
    path = user_path(name)
    if not path.exists():
        raise BadData(f"there is nothing at {str(path)!r}, which --data {name} names", "--data PREFIX:PATH")
    try:
        return _of_pictures(path) if prefix == "folder" else file_sha256(npz.located(path))[:12]
    except OSError as error:
        raise BadData(f"{error.filename} cannot be read ({error.strerror})") from error


def _of_pictures(path: Path) -> str:
    """Of the pictures that would be read, where each lies and its bytes; other files do not count."""
    digest, start = hashlib.sha256(), len(path.as_posix())
    for file in folder.pictures(path):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
        digest.update(os.fsencode(file.as_posix()[start:]) + b"\0")
    return digest.hexdigest()[:12]
