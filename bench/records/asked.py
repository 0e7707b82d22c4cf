"""Which record answered a request before: a complete run is found again without planning it.

To plan a run loads the code of its defense and attacks, and so torch. An answer is kept with the state of
everything that a plan follows from, and holds while that state and the record are the same, byte by byte:
whoever asks the same then would be led to the same record, and find it as fresh. Requests for which more
decides, such as files of the user's own, have no answer here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.digest import canonical, file_sha256
from bench.core.json_file import read_json
from bench.core.text import is_id
from bench.records.files import sweep, write_atomically
from bench.records.record import Record
from bench.records.store import Store, read_record

FOLDER = "asked"
"""The folder of a store that holds the answers."""

Word = str | int | None | tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """The record of a complete run, and the sentences that came with it."""

    record: Record
    said: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A request in the user's words, asked of the code as it is on disk."""

    words: Mapping[str, Word]
    state: str  # of the code and the installed packages when it was asked

    @classmethod
    def of(cls, words: Mapping[str, Word]) -> Question | None:
        """The question; None where more than our code decides: files, libraries or plug-ins of others."""
        texts = [text for word in words.values() for text in (word if isinstance(word, tuple) else (word,))]
        if any(":" in text for text in texts if isinstance(text, str)) or any(_of_others()):
            return None
        return cls(words, state())

    def answer(self, store: Store) -> Answer | None:
        """What answered it before; None: nothing did, or something behind the answer has changed since."""
        try:
            held = read_json(self._path(store))
            record, sha256, said = str(held["run"]), held["sha256"], tuple(map(str, held["said"]))
            path = store.run(record).path / "record.json"
            if not is_id(record) or held["state"] != self.state or file_sha256(path) != sha256:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Answer(read_record(path), said)

    def keep(self, store: Store, run_id: str, said: Iterable[str]) -> None:
        """Note which complete, fresh run answered it; not where the code was edited meanwhile."""
        if state() != self.state:
            return
        sha256 = file_sha256(store.run(run_id).path / "record.json")
        note = {"run": run_id, "sha256": sha256, "said": list(said), "state": self.state}
        sweep(store.root / FOLDER, time.time() - 60)  # an answer is written in less
        write_atomically(self._path(store), json.dumps(note, indent=1).encode())

    def _path(self, store: Store) -> Path:
        name = hashlib.sha256(canonical(dict(self.words)).encode()).hexdigest()
        return store.root / FOLDER / f"{name[:24]}.json"


def state() -> str:
    """The SHA-256 of all that a plan follows from: our files, Python, and which packages are installed."""
    digest = hashlib.sha256(sys.version.encode())
    for name, content in [*_own_files(), *((name, b"") for name in _installed())]:
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _own_files() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file of our packages but what Python caches, in one order."""
    for package in ("bench", "defenses"):
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    yield f"{package}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _installed() -> list[str]:
    """The packages on Python's path, by name and version, as the folders that describe them are called."""
    folders = [Path(entry) for entry in sys.path if entry]
    return sorted(str(path) for folder in folders for path in folder.glob("*.*-info"))


def _of_others() -> Iterator[importlib.metadata.EntryPoint]:
    """Plug-ins that other packages offer."""
    for kind in ("defenses", "attacks", "suites"):
        yield from importlib.metadata.entry_points(group=f"bench.{kind}")
