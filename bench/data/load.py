"""Data sets by name: found on disk, made, or downloaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from bench.core.progress import Progress, Silent
from bench.data.catalog import source
from bench.data.dataset import Dataset, assemble
from bench.data.reading import parted
from bench.data.splits import DataRequest, Splits


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
    read = cast(
        "Callable[[DataRequest, Progress], Splits]", getattr(importlib.import_module(module), function)
    )
    request = DataRequest(parted(name)[0], root, download, found.reading)
    splits = read(request, progress or Silent())
    if found.reading.resizes and not found.sizes:
        from bench.data.sizes import at_size  # torchvision loads much

        splits = at_size(splits, found.reading, found.name)
    return assemble(found, splits)
