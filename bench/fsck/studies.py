"""Results of studies in a store: the file, what lies beside it, and the cells of their parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.core.digest import content_id
from bench.errors import BenchError
from bench.fsck.flaw import Flaw
from bench.fsck.runs import flaws_of_parts
from bench.studies.study import Study


def flaws_of_study(study: Study, store: Path, folder: Path) -> Iterator[Flaw]:
    """Whatever is wrong in one folder of a study, of a result or of cells that several results share."""
    again = f"the same `bench {study.name}` again"
    path = folder / study.file
    if path.is_file() and (wrong := _result_wrong(study, store, folder)) is not None:
        file, what = wrong
        yield Flaw(file, what, "move", f"{again}: it is made anew from the cells", (path,))
    if (folder / "cells").is_dir():
        yield from flaws_of_parts(folder, path, again)


def _result_wrong(study: Study, store: Path, folder: Path) -> tuple[Path, str] | None:
    """The file of a result, or beside it, that is not to be believed, and why; None: all are."""
    path = folder / study.file
    try:
        found = study.read(path)
        named = content_id(found.spec)
        if found.id != folder.name or named != folder.name:
            return path, f"is the {study.result} of {found.id}, with the spec of {named}"
        study.whole(found, store)
    except BenchError as error:
        file = next((held for held in folder.iterdir() if error.message.startswith(f"{held} ")), path)
        return file, error.message.removeprefix(f"{file} ")
    return None
