"""What a store holds besides runs: the results of every study, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.studies import studies


@dataclass(frozen=True)
class Holding:
    """One complete result."""

    kind: str  # "transfer matrices", as a heading
    id: str
    summary: str


def holdings(store: Path) -> Iterator[Holding]:
    """Everything complete, by study and id; models and images are no results.

    Raises:
        BadData: a file is damaged.
    """
    for study in studies():
        for path in sorted(study.where(store, "*").parent.parent.glob(f"*/{study.file}")):
            found = study.read(path)
            yield Holding(study.results, found.id, study.module("record").summary(found))
