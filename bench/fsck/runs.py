"""One run of a store: its record, what the record names, and its cells."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from bench.audit.gather import ran
from bench.core.digest import content_id, file_sha256
from bench.errors import BadData
from bench.fsck.files import spec_wrong
from bench.fsck.flaw import NOTHING, Flaw
from bench.records.evidence import is_whole, unusable
from bench.records.origin import origin_of
from bench.records.record import Record
from bench.records.store import RunFolder, read_record
from bench.records.tally import differing

AGAIN = "the same `bench run` again"
"""What makes a run's files anew where nothing says which words asked for it."""


def flaws_of_run(folder: Path) -> Iterator[Flaw]:
    """Whatever is wrong in the folder of a run."""
    record = _record(folder)
    again = AGAIN if isinstance(record, str) else _command(record, folder)
    if isinstance(record, str) and record:
        yield Flaw(folder / "record.json", record, "move", f"{again}: it is made anew from the cells")
    yield from flaws_of_parts(folder, folder / "record.json", again)
    if isinstance(record, Record):
        yield from _flaws_of_figures(record, folder, again)
        yield from _flaws_beside(record, folder, again)


def flaws_of_parts(folder: Path, result: Path, again: str) -> Iterator[Flaw]:
    """A folder whose `spec.json` is wrong, which leaves nothing to hold its cells to; else wrong cells."""
    spec = folder / "spec.json"
    wrong = spec_wrong(folder)
    if wrong is None:
        yield from flaws_of_cells(folder, again)
    elif spec.exists() or result.exists():
        yield Flaw(
            spec, wrong, "move", f"{again}: it is written anew, and the cells that are of it count", (result,)
        )


def is_complete(folder: Path) -> bool:
    """Whether a run has its record."""
    return (folder / "record.json").is_file()


def flaws_of_cells(folder: Path, again: str) -> Iterator[Flaw]:
    """Cells and their images that are damaged or another's; and images that a complete run has no use for."""
    then = f"{again}: it is computed anew"
    for path in sorted(folder.glob("cells/*/*.npz")):
        if (wrong := cell_wrong(folder, path)) is not None:
            yield Flaw(path, wrong, "remove", then)
    for path in sorted(folder.glob("cells/*/*.safetensors")):
        if is_complete(folder):
            yield Flaw(path, "is left over: the run is complete", "remove", NOTHING)
        elif (wrong := _images_wrong(folder, path)) is not None:
            yield Flaw(path, wrong, "remove", then)


def cell_wrong(folder: Path, path: Path) -> str | None:
    """Why a cell does not count; None: it does."""
    if not path.stem.isdecimal():
        return "is no cell: its name is no number"
    told: list[str] = []
    held = RunFolder(folder, told.append).held(path.parent.name, int(path.stem))
    if held is not None:
        return None
    return told[0].removeprefix(f"{path} ").removesuffix(": it counts as not computed")


def _images_wrong(folder: Path, path: Path) -> str | None:
    if not path.stem.isdecimal():
        return "is of no cell: its name is no number"
    return unusable(RunFolder(folder), path.parent.name, int(path.stem))


def _record(folder: Path) -> Record | str:
    """The record of a run, or what is wrong with it; an empty text where there is none."""
    path = folder / "record.json"
    if not path.is_file():
        return ""
    try:
        record = read_record(path)
        named = content_id(record.spec)
    except BadData as error:
        return error.message.removeprefix(f"{path} ")
    if record.run_id != folder.name or named != folder.name:
        return f"is the record of {record.run_id}, with the spec of {named}"
    return record


def _command(record: Record, folder: Path) -> str:
    """The command that made a record; its suite follows from the record, and is named there."""
    store = folder.parent
    training = store / "models" / str(record.spec["training"]["id"])
    try:
        return f"{ran(record, origin_of(training), store)} with its suite, {record.suite}"
    except (KeyError, TypeError, ValueError, AttributeError):  # a record of older making says less
        return AGAIN


def _flaws_of_figures(record: Record, folder: Path, again: str) -> Iterator[Flaw]:
    """A record whose columns are not what its own table of examples comes to."""
    path = folder / "examples.csv"
    then, along = f"{again}: all is made anew from the cells", (folder / "record.json",)
    try:
        RunFolder(folder).examples()
    except BadData as error:
        yield Flaw(path, error.message.removeprefix(f"{path} "), "move", then, along)
        return
    for told in differing(record, RunFolder(folder)):
        yield Flaw(path, f"makes another record: {told}", "move", then, along)


def _flaws_beside(record: Record, folder: Path, again: str) -> Iterator[Flaw]:
    """Files of images that the record names, and that are not what it says."""
    along = (folder / "record.json",)
    kept = record.evidence
    if kept is not None:
        path = folder / kept.file
        if (wrong := _sum_wrong(path, kept.sha256)) is not None:
            yield Flaw(path, wrong, "move", f"{again} with --rerun: its images are made anew", along)
    for imported in record.imported:
        path = folder / f"imported-{imported.sha256[:12]}.safetensors"
        try:
            what = None if is_whole(path) else "was changed after it was made"
        except BadData as error:
            what = error.message.removeprefix(f"{path} ")
        if what is not None:
            then = shlex.join(["bench", "import", record.run_id, imported.file])
            yield Flaw(path, what, "move", f"{then} again", along)


def _sum_wrong(path: Path, sha256: str) -> str | None:
    """Why a file is not the one that a record names; None: it is."""
    try:
        found = file_sha256(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error}), though its record names it"
    return None if found == sha256 else f"was changed: its sha256 is {found[:12]}, its record's {sha256[:12]}"
