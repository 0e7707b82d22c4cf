"""Data sets by name: found on disk, made, or downloaded."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from bench.core.digest import file_sha256
from bench.core.progress import Progress, Silent
from bench.data.catalog import PREFIXES, source, user_path
from bench.data.dataset import Dataset, assemble
from bench.data.splits import Request, Splits
from bench.errors import BadData


def load(
    name: str, root: Path | None = None, download: bool = True, progress: Progress | None = None
) -> Dataset:
    """The data set of that name, checked and split.

    Sought in `root`, $BENCH_DATA, /usr/share/datasets and ./.data, in this order; else downloaded into `root`
    or ./.data, if that is allowed.

    Raises:
        UnknownName: no table holds the name.
        BadData: the data set is nowhere, or not in order.
    """
    found = source(name)
    module, _, function = found.loader.partition(":")
    read = cast("Callable[[Request, Progress], Splits]", getattr(importlib.import_module(module), function))
    return assemble(found, read(Request(name, root, download), progress or Silent()))


def identity(name: str) -> str | None:
    """Twelve hexadecimal digits that name the files of `folder:PATH` or `npz:PATH`; None for published data.

    It reads every file but decodes none, so it is known before anything is loaded.
    """
    if name.partition(":")[0] not in PREFIXES:
        source(name)  # says what is wrong with a name
        return None
    path = user_path(name)
    if path.is_file():
        return file_sha256(path)[:12]
    if not path.is_dir():
        raise BadData(f"{path} does not exist, expected the data set of {name!r}")
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}:{file_sha256(file)}\n".encode())
    return digest.hexdigest()[:12]
