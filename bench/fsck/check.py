"""A whole store, looked at folder by folder; nothing is changed, and nothing is computed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.core.progress import Progress
from bench.errors import BadData
from bench.fsck.files import arrays_wrong, json_object
from bench.fsck.flaw import DAMAGED, NOTHING, Flaw
from bench.fsck.runs import flaws_of_run, is_complete
from bench.fsck.studies import flaws_of_study
from bench.fsck.trainings import flaws_of_training
from bench.records.asked import FOLDER as ASKED
from bench.records.files import leftovers
from bench.studies.table import studies

IN_USE = 3600.0
"""Seconds for which a file that is being written is not taken for a leftover."""

_ID = re.compile(r"[0-9a-f]{12}")


@dataclass
class Looked:
    """What was looked at."""

    runs: int = 0
    trainings: int = 0
    results: int = 0  # of studies
    unfinished: list[str] = field(default_factory=list)  # runs without a record


def check(store: Path, progress: Progress, looked: Looked) -> Iterator[Flaw]:
    """Every flaw of a store; what was looked at is counted in `looked`.

    Raises:
        BadData: there is no such folder, or it is none.
    """
    if not store.is_dir():
        raise BadData(f"{str(store)!r} is no folder, expected a store of runs", "bench fsck FOLDER")
    tasks = list(_tasks(store, looked))
    progress.start(f"looking at {store}", len(tasks), "folders")
    for task in tasks:
        yield from task()
        progress.advance()
    progress.finish()


def _tasks(store: Path, looked: Looked) -> Iterator[Callable[[], Iterator[Flaw]]]:
    """One for each folder, in the order of their names."""
    for folder in _named_by_id(store):
        looked.runs += 1
        if not is_complete(folder):
            looked.unfinished.append(folder.name)
        yield partial(flaws_of_run, folder)
    for folder in _named_by_id(store / "models"):
        looked.trainings += 1
        yield partial(flaws_of_training, folder)
    for study in studies():
        for folder in _named_by_id(store / study.folder):
            looked.results += (folder / study.file).is_file()
            yield partial(flaws_of_study, study, store, folder)
    yield partial(_flaws_of_answers, store)
    yield partial(_flaws_of_detectors, store)
    yield partial(_leftovers, store)


def _named_by_id(folder: Path) -> list[Path]:
    """The folders of results in a folder; nothing else is ours."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in there if _ID.fullmatch(path.name) and path.is_dir()]


def _flaws_of_answers(store: Path) -> Iterator[Flaw]:
    """Notes of which record answered a request."""
    for path in sorted((store / ASKED).glob("*.json")):
        held = json_object(path)
        wrong = held if isinstance(held, str) else None
        if wrong is None and not {"run", "sha256", "said", "state"} <= set(held):
            wrong = "lacks fields"
        if wrong is not None:
            yield Flaw(path, wrong, "remove", "nothing: it is a note, and written again")


def _flaws_of_detectors(store: Path) -> Iterator[Flaw]:
    """Fitted detectors."""
    for path in sorted((store / "detectors").glob("*.npz")):
        if (wrong := arrays_wrong(path)) is not None:
            yield Flaw(path, wrong, "remove", "the same `bench detect` again, which fits it anew")


def _leftovers(store: Path) -> Iterator[Flaw]:
    """Files that a killed process was writing."""
    for path in leftovers(store, before=time.time() - IN_USE):
        if DAMAGED not in path.relative_to(store).parts:
            yield Flaw(path, "is left over from a process that was killed", "remove", NOTHING)
