"""What is wrong with one file of a store, and what mends it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DAMAGED = "damaged"
"""The folder of a store that repair moves records and weights to; nothing reads it."""

NOTHING = "nothing: nobody needs it"
"""What to type after a leftover is gone."""


@dataclass(frozen=True)
class Flaw:
    """A file that is damaged, left over, or not what its neighbours say it is."""

    path: Path
    what: str  # a clause that goes on from the path: "is damaged (...)"
    repair: Literal["remove", "move"]  # what can be computed again is removed, everything else moved aside
    then: str  # what to type after the repair, or why there is nothing to type
    along: tuple[Path, ...] = ()  # what rests on it, and is moved aside with it


def mend(flaw: Flaw, store: Path) -> str:
    """Remove the file of a flaw, or move it aside; gives what was done, in words.

    Raises:
        OSError: the store cannot be written to.
    """
    if flaw.repair == "remove":
        flaw.path.unlink(missing_ok=True)
        _leave_no_empty_folder(flaw.path.parent)
        return "removed"
    for path in (flaw.path, *flaw.along):
        _aside(path, store)
    return f"moved to {store / DAMAGED}"


def _aside(path: Path, store: Path) -> None:
    """Move a file to the folder of damaged ones, beside whatever is there of that name."""
    if not path.exists():
        return
    place = store / DAMAGED / path.relative_to(store)
    free, number = place, 0
    while free.exists():
        number += 1
        free = place.with_name(f"{place.name}.{number}")
    free.parent.mkdir(parents=True, exist_ok=True)
    path.rename(free)


def _leave_no_empty_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it holds something else
        folder.rmdir()
