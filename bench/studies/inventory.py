"""What a store holds besides runs: the results of every study, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BadData
from bench.records.gathering import Skip
from bench.studies.table import studies


@dataclass(frozen=True)
class Kept:
    """One complete result."""

    kind: str  # "transfer matrices", as a heading
    id: str
    summary: str


def inventory(store: Path, skip: Skip) -> Iterator[Kept]:
    """Everything complete, by study and id; models and images are no results.

    `skip` is told of what cannot be read.
    """
    for study in studies():
        for path in study.files(store):
            try:
                found = study.read(path)
            except BadData as error:
                skip(error)
                continue
            yield Kept(study.results, found.id, study.module("record").summary(found))
