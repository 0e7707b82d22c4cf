"""What a store holds besides runs: the results of every study, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.studies.table import studies


@dataclass(frozen=True)
class Kept:
    """One complete result."""

    kind: str  # "transfer matrices", as a heading
    id: str
    summary: str


def inventory(store: Path) -> Iterator[Kept]:
    """Everything complete, by study and id; models and images are no results.

    Raises:
        BadData: a file is damaged.
    """
    for study in studies():
        for path in study.files(store):
            found = study.read(path)
            yield Kept(study.results, found.id, study.module("record").summary(found))
