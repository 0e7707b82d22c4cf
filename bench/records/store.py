"""Where runs are kept: a folder for each, written so that a kill at any moment loses at most one cell."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.core.digest import canonical, file_sha256
from bench.core.files import read_bytes, read_text, why
from bench.core.json_file import MOST, parse_json, read_json
from bench.core.outcomes import Outcomes
from bench.core.succession import changed_modules
from bench.errors import BadData, BadValue
from bench.records.arrays import LIMIT, Arrays, packed, reason, unpacked
from bench.records.documents import require_own
from bench.records.files import require_writable, write_atomically, writing
from bench.records.locks import locked
from bench.records.reading import from_json
from bench.records.record import Record, to_json
from bench.records.seal import check, sealed

__all__ = [
    "Arrays",
    "RunFolder",
    "Store",
    "StoredCell",
    "complete",
    "read_examples",
    "read_record",
    "require_writable",
    "write_atomically",
    "writing",
]

EXAMPLES = "examples.csv"
"""What each column did to each example of a run, in its folder."""

IMAGES = "adversarial.safetensors"
"""The images of a run's worst case, in its folder."""


@dataclass(frozen=True)
class StoredCell:
    """A cell as it lies on disk."""

    outcomes: Outcomes
    seconds: float
    flat_gradients: int
    shared: int = 0  # examples whose images could not be told from others'


class Store:
    """All runs and models below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Find out now whether the folder can be written to, or made; nothing is left behind.

        Raises:
            BadValue: it cannot.
        """
        require_writable(self.root, "store", "--store FOLDER")

    def is_writable(self) -> bool:
        """Whether anything new can be kept in the folder."""
        try:
            self.prepare()
        except BadValue:
            return False
        return True

    def lock(
        self, kind: str, name: str, say: Callable[[str], object]
    ) -> contextlib.AbstractContextManager[float]:
        """Hold the lock of a training, a run or a result; gives when it was taken, see `locks.locked`."""
        return locked(self.root, f"{kind}-{name}", f"{kind} {name}", say)

    def run(self, run_id: str, say: Callable[[str], object] | None = None) -> RunFolder:
        """The folder of one run; `say` is told of cells that do not count."""
        return RunFolder(self.root / run_id, say)

    def model(self, training_id: str) -> Path:
        """The folder of one training."""
        return self.root / "models" / training_id


def complete(run_id: str) -> str:
    """What is said where a record answers."""
    return f"run {run_id} is complete: this is its record, nothing was computed"


class RunFolder:
    """`spec.json`, `cells/<column>/<chunk>.npz`, then `examples.csv`, and last `record.json`.

    Every cell states whose it is: what it is of, its column and chunk, and the digest of `spec.json`, which
    holds the spec and the code. One of another result, column or chunk counts as not computed.
    """

    def __init__(self, path: Path, say: Callable[[str], object] | None = None) -> None:
        """`say` is told of every cell that is there and does not count."""
        self.path = path
        self._say = say or (lambda sentence: None)

    def begin(self, spec: Mapping[str, Any], sources: Mapping[str, str]) -> int:
        """Open the run; cells that other code computed are thrown away, and how many is returned."""
        content = sealed({"spec": spec, "sources": sources, "owned": True})
        held = self._spec()
        if held and _same(held["spec"], parse_json(content)["spec"]) and not _changed(held, sources):
            return 0
        cells = list(self.path.glob("cells/*/*.npz")) if held else []  # without, each cell says whose it is
        for file in self.path.glob("cells/*/*") if held else ():
            file.unlink()
        write_atomically(self.path / "spec.json", content.encode())
        return len(cells)

    def holds(self, columns: Iterable[str], chunks: int, sources: Mapping[str, str]) -> bool:
        """Whether every cell of these columns is here, computed by this code; nothing is thrown away."""
        held = self._spec()
        if not held or _changed(held, sources):
            return False
        return all(self._cell(column, chunk).is_file() for column in columns for chunk in range(chunks))

    def owner(self, column: str, chunk: int) -> dict[str, str]:
        """What a file of one cell states: whose it is."""
        try:
            spec = sha256((self.path / "spec.json").read_bytes()).hexdigest()
        except FileNotFoundError:
            spec = ""
        return {"of": self.path.name, "spec": spec, "column": column, "chunk": str(chunk)}

    def stranger(self, told: Mapping[str, str] | None, column: str, chunk: int) -> str | None:
        """Why a file that states this is not of this cell; None: it is.

        None for `told`: it states nothing, which is right for what was computed before files did.
        """
        owner = self.owner(column, chunk)
        told = {name: told[name] for name in owner if name in told} if told else {}
        if not told and not self._spec().get("owned"):
            return None
        if told.keys() != owner.keys():
            return "does not say whose it is"
        if told == owner:
            return None
        if all(told[name] == owner[name] for name in ("of", "column", "chunk")):
            return "was computed for another spec.json than the one that is here"
        return f"is of {told['column']}, chunk {told['chunk']}, of {told['of']}"

    def record(self) -> Record | None:
        """The record, if the run is complete."""
        path = self.path / "record.json"
        return read_record(path) if path.is_file() else None

    def held(self, column: str, chunk: int) -> tuple[Arrays, float] | None:
        """The arrays of a computed cell and the seconds it took.

        A damaged one, and one of another cell, counts as not computed, and is told.
        """
        path = self._cell(column, chunk)
        if not path.is_file():
            return None
        try:
            arrays = unpacked(read_bytes(path, LIMIT))
            told = parse_json(str(arrays.pop("owner"))) if "owner" in arrays else None
            seconds = float(arrays.pop("seconds"))
            strange = self.stranger(told, column, chunk)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            strange = f"is damaged ({reason(error)})"
        if strange is None:
            return arrays, seconds
        self._refuse(path, strange)
        return None

    def keep(self, column: str, chunk: int, arrays: Arrays, seconds: float) -> None:
        """Store a computed cell, whole or not at all; the note of an earlier failure goes."""
        told = {
            "seconds": np.asarray(np.float64(seconds)),
            "owner": np.asarray(json.dumps(self.owner(column, chunk))),
        }
        path = self._cell(column, chunk)
        write_atomically(path, packed({**told, **arrays}))
        path.with_suffix(".error").unlink(missing_ok=True)

    def cell(self, column: str, chunk: int) -> StoredCell | None:
        """A computed cell of a run."""
        found = self.held(column, chunk)
        if found is None:
            return None
        arrays, seconds = found
        try:
            outcomes = Outcomes(**{field.name: arrays[field.name] for field in fields(Outcomes)})
            return StoredCell(outcomes, seconds, int(arrays["flat_gradients"]), int(arrays["shared"]))
        except (KeyError, ValueError, TypeError) as error:
            self._refuse(self._cell(column, chunk), f"holds something else ({reason(error)})")
            return None

    def keep_cell(self, column: str, chunk: int, cell: StoredCell) -> None:
        """Store a computed cell of a run."""
        told = {"flat_gradients": np.int64(cell.flat_gradients), "shared": np.int64(cell.shared)}
        self.keep(column, chunk, {**cell.outcomes.arrays(), **cast(dict[str, Any], told)}, cell.seconds)

    def keep_error(self, column: str, chunk: int, message: str) -> None:
        """Note why a cell failed; it is computed again next time."""
        write_atomically(self._cell(column, chunk).with_suffix(".error"), (message + "\n").encode())

    def finish(self, record: Record, outcomes: Mapping[str, Outcomes]) -> Record:
        """Write the examples, then the record with their digest: it exists = it is complete."""
        content = _examples_csv(outcomes).encode()
        record = replace(record, files={**record.files, EXAMPLES: sha256(content).hexdigest()})
        write_atomically(self.path / EXAMPLES, content)
        write_atomically(self.path / "record.json", to_json(record).encode())
        return record

    def examples(self) -> dict[str, Outcomes]:
        """What each column of a complete run did to each example.

        Raises:
            BadData: there is no record, or `examples.csv` is missing, damaged, or not the record's.
        """
        path, record = self.path / EXAMPLES, read_record(self.path / "record.json")
        found = read_examples(path)
        computed = {column.name for column in record.columns if column.robust is not None}
        if set(found) != computed or any(len(held) != record.examples for held in found.values()):
            raise BadData(
                f"{path} does not hold the {record.examples} examples of {', '.join(sorted(computed))}",
                "bench run again with --rerun",
            )
        if record.files.get(EXAMPLES, file_sha256(path)) != file_sha256(path):
            raise BadData(
                f"{path} is not the table that run {record.run_id} wrote, expected the one that its record "
                "names",
                "bench run again with --rerun",
            )
        return found

    def forget(self) -> None:
        """Drop the record, every cell, and last the images of the worst case: cells lack theirs by now."""
        (self.path / "record.json").unlink(missing_ok=True)
        for cell in self.path.glob("cells/*/*"):
            cell.unlink()
        for name in (EXAMPLES, IMAGES):
            (self.path / name).unlink(missing_ok=True)

    def _cell(self, column: str, chunk: int) -> Path:
        return self.path / "cells" / column / f"{chunk:04d}.npz"

    def _refuse(self, path: Path, why: str) -> None:
        self._say(f"{path} {why}: it counts as not computed")

    def _spec(self) -> dict[str, Any]:
        """What is written down about the run; nothing where it is missing or damaged."""
        try:
            held = read_json(self.path / "spec.json")
            check(held, str(self.path / "spec.json"), "")
        except (OSError, ValueError, TypeError, BadData):
            return {}
        if not isinstance(held, dict) or not isinstance(held.get("spec"), dict):
            return {}
        sources = held.get("sources")
        return held if isinstance(sources, dict) and all(type(d) is str for d in sources.values()) else {}


def _same(one: object, other: object) -> bool:
    """Whether two specs are the same, whatever classes were called when they were written."""
    try:
        return canonical(one) == canonical(other)
    except (ValueError, RecursionError):  # one of them holds what no spec does
        return False


def _changed(held: Mapping[str, Any], sources: Mapping[str, str]) -> list[str]:
    """The modules that are not as they were when this was written down."""
    return changed_modules(held["sources"], sources)


def read_record(path: Path) -> Record:
    """The record in a file, or in the folder of a run.

    Raises:
        BadData: it is missing, unreadable, not a record, or that of another run than its folder's.
    """
    try:
        text = read_text(path, MOST)
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(
            f"{path} cannot be read ({why(error)}), expected a record.json", "bench list runs"
        ) from None
    record = from_json(text, origin=str(path))
    require_own(record.run_id, path, "bench run again with --rerun")
    return record


def read_examples(path: Path) -> dict[str, Outcomes]:
    """Column -> outcomes, from an `examples.csv`.

    Raises:
        BadData: it is missing, unreadable, or holds something else.
    """
    found: dict[str, list[dict[str, str]]] = {}
    try:
        for row in csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True):
            found.setdefault(row["column"], []).append(row)
        return {column: _outcomes(rows) for column, rows in found.items()}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadData(
            f"{path} cannot be read ({error}), expected what its run did to each example",
            "bench run again with --rerun",
        ) from None


def _examples_csv(outcomes: Mapping[str, Outcomes]) -> str:
    """One line for each example and column."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = [field.name for field in fields(Outcomes)]
    writer.writerow(["column", *names])
    for column, held in outcomes.items():
        arrays = held.arrays()
        for index in range(len(held)):
            writer.writerow([column, *(_plain(arrays[name][index]) for name in names)])
    return buffer.getvalue()


def _outcomes(rows: list[dict[str, str]]) -> Outcomes:
    """The inverse of the lines of one column."""
    arrays: dict[str, Any] = {}
    for item in fields(Outcomes):
        texts = [row[item.name] for row in rows]
        if "float" in str(item.type):
            arrays[item.name] = np.array([float(text) for text in texts])
        else:
            whole = np.array([int(text) for text in texts], dtype=np.int64)
            arrays[item.name] = whole.astype(bool) if "bool" in str(item.type) else whole
    return Outcomes(**arrays)


def _plain(value: np.generic) -> object:
    found = value.item()
    return int(found) if isinstance(found, bool) else f"{found:.6g}" if isinstance(found, float) else found
