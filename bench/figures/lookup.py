"""What names on a command line lead to: results of every kind in a store, by id, folder, file or defense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.core.json_file import read_json
from bench.errors import BadData, BadValue
from bench.records.labels import label_of
from bench.records.presets import without_preset
from bench.records.record import LOADED
from bench.studies.table import studies

PUBLISHED = "records"
"""The folder in which boards keep the records of their rows."""


@dataclass(frozen=True)
class ResultSource:
    """A kind of result that lies in a store, each in a folder of its own."""

    name: str  # as sentences say it: "curve"
    several: str  # "curves"
    folder: str  # below the store; "": the store itself
    file: str
    command: str  # what makes or lists them

    @property
    def told(self) -> str:
        """One of them in a sentence."""
        return self.name if self.name == self.several else f"a {self.name}"

    def id_of(self, path: Path) -> str:
        """The id of the result in a file."""
        return path.stem if path.parent.name == PUBLISHED else path.parent.name

    def in_store(self, store: Path, beginning: str = "") -> list[Path]:
        """The files of a store whose ids begin so."""
        found = [*(store / self.folder).glob(f"*/{self.file}")]
        if self is RUN and not found:  # boards keep records alone
            found = [*store.glob(f"{PUBLISHED}/*.json")]
        return sorted((p for p in found if self.id_of(p).startswith(beginning)), key=self.id_of)

    def within(self, place: Path) -> list[Path]:
        """The files in a folder: its own, those of folders in it, of a store, of boards; or a file itself."""
        if place.is_file():
            return [place] if place.match(self.file) or self._is_published(place) else []
        patterns = [self.file, f"*/{self.file}", f"{self.folder}/*/{self.file}", f"{PUBLISHED}/*.json"]
        found = {path for pattern in patterns for path in place.glob(pattern.lstrip("/"))}
        return sorted(path for path in found if path.match(self.file) or self._is_published(path))

    def _is_published(self, path: Path) -> bool:
        return self is RUN and path.parent.name == PUBLISHED and path.suffix == ".json"


RUN = ResultSource("run", "runs", "", "record.json", "bench list runs")

STUDIES: Mapping[str, ResultSource] = {
    study.name: ResultSource(study.result, study.results, study.folder, study.file, study.example)
    for study in studies()
}
"""Of each study, by its name."""

SOURCES = (RUN, *STUDIES.values())


def find(names: Iterable[str], store: Path, source: ResultSource) -> list[Path]:
    """The files of results that names lead to, each once, in the order of the names.

    A name is an id or its beginning, a folder, a file, or a defense, which stands for all of its results.

    Raises:
        BadData: a name leads nowhere.
        BadValue: a beginning leads to several.
    """
    found: dict[Path, None] = {}
    for name in names:
        files = led_to(name, store, source)
        if not files:
            raise BadData(f"{name!r} {_instead(name, store, source)}", source.command)
        found.update(dict.fromkeys(path.resolve() for path in files))
    return list(found)


def led_to(name: str, store: Path, source: ResultSource) -> list[Path]:
    """The files of results of one kind that a name leads to; empty: none.

    Raises:
        BadValue: it is the beginning of several ids.
    """
    begun = source.in_store(store, name) if name.isalnum() else []
    if len(begun) > 1:
        ids = ", ".join(source.id_of(path) for path in begun[:6]) + ", ..." * (len(begun) > 6)
        raise BadValue(f"{name!r} is the beginning of several {source.several} ({ids}), expected one")
    if begun:
        return begun
    there = {path: _defenses(path, path.stat().st_mtime_ns) for path in source.in_store(store)}
    loaded = {label for labels in there.values() for label, is_loaded in labels.items() if is_loaded}
    label = label_of(name, loaded)
    return [path for path, labels in there.items() if label in labels] or source.within(Path(name))


@cache
def _defenses(path: Path, _changed: int) -> Mapping[str, bool]:
    """Whose result lies in a file, and whether that was loaded from a file of the user's own.

    A damaged one is nobody's, and told of when it is asked for by its id.
    """
    try:
        held = read_json(path)
        networks = held.get("networks") or [{**held, **(held.get("training") or {})}]
        return {
            name: _is_loaded(network)
            for network in networks
            for name in _names(str(network.get("defense")), str(held.get("data")))
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _names(defense: str, data: str) -> set[str]:
    """What a defense may be typed as: `trades` means what is `trades[preset=mnist]` on MNIST, too."""
    return {defense, without_preset(defense, data)}


def _is_loaded(network: Mapping[str, Any]) -> bool:
    own = ":" not in str(network.get("defense")).partition("[")[0]  # not a zoo's or a hub's
    return own and network.get("recipe") == LOADED


def _instead(name: str, store: Path, source: ResultSource) -> str:
    """What a name leads to instead, or what there is."""
    others = [other.told for other in SOURCES if other is not source and led_to(name, store, other)]
    if others:
        return f"leads to {' and '.join(others)}, expected {source.told}"
    ids = [source.id_of(path) for path in source.in_store(store)]
    more = f" and {len(ids) - 4} more" if len(ids) > 4 else ""
    told = f"one of {', '.join(ids[:4])}{more} in {str(store)!r}" if ids else f"an id, but {store} holds none"
    return f"leads to no {source.name}, expected a defense, a folder or {told}"
