"""How runs were asked for that are not complete yet, so that the same can be typed again."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.core.json_file import read_json
from bench.core.text import one_line
from bench.records.store import Store, write_atomically

FOLDER = "begun"
"""The folder of a store that holds the words of each."""


def note_begun(store: Store, run_id: str, words: Sequence[str]) -> None:
    """Note the words of the command that begins a run, after `bench`."""
    write_atomically(_path(store, run_id), (json.dumps(list(words), indent=1) + "\n").encode())


def forget_begun(store: Store, run_id: str, is_new: bool = False) -> None:
    """A complete run needs nobody to go on with it; a new store in which there is nothing else goes, too."""
    path = _path(store, run_id)
    if not path.exists():
        return
    path.unlink()
    with contextlib.suppress(OSError):  # others are still begun, or it is gone
        path.parent.rmdir()
        if is_new:
            store.root.rmdir()


def command_of(store: Store, run_id: str) -> str | None:
    """The command, each word quoted, on one line; None: nobody noted it, or the note is damaged."""
    try:
        words = read_json(_path(store, run_id))
    except (OSError, ValueError):
        return None
    if not isinstance(words, list):
        return None
    return one_line(shlex.join(["bench", *map(str, words)]))


def _path(store: Store, run_id: str) -> Path:
    return store.root / FOLDER / f"{run_id}.json"
