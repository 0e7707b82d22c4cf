"""Where runs are kept: a folder for each, written so that a kill at any moment loses at most one cell."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from bench.core.outcomes import Outcomes
from bench.core.succession import changed_modules
from bench.errors import BadData, BadValue
from bench.records.reading import from_json
from bench.records.record import Record, to_json


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it exists whole or not at all: temporary file, sync, rename."""
    with writing(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """The same for what is written piece by piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def require_writable(folder: Path, what: str, hint: str) -> None:
    """Raise BadValue unless the folder can be written to, or made; nothing is left behind."""
    nearest = folder.absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadValue(
            f"the {what} {str(folder)!r} cannot be written to ({reason}), expected a writable folder", hint
        ) from None


Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name, as a cell holds them."""


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

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.root / run_id)

    def model(self, training_id: str) -> Path:
        """The folder of one training."""
        return self.root / "models" / training_id


def complete(run_id: str) -> str:
    """What is said where a record answers."""
    return f"run {run_id} is complete: this is its record, nothing was computed"


class RunFolder:
    """`spec.json`, `cells/<column>/<chunk>.npz`, then `examples.csv`, and last `record.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, spec: Mapping[str, Any], sources: Mapping[str, str]) -> int:
        """Open the run; cells that other code computed are thrown away, and how many is returned."""
        held = self._spec()
        if isinstance(held, dict) and not changed_modules(held.get("sources") or {}, sources):
            return 0
        cells = list(self.path.glob("cells/*/*.npz"))
        for file in self.path.glob("cells/*/*"):
            file.unlink()
        content = json.dumps({"spec": spec, "sources": sources}, indent=1, sort_keys=True)
        write_atomically(self.path / "spec.json", content.encode())
        return len(cells)

    def holds(self, columns: Iterable[str], chunks: int, sources: Mapping[str, str]) -> bool:
        """Whether every cell of these columns is here, computed by this code; nothing is thrown away."""
        held = self._spec()
        if not isinstance(held, dict) or changed_modules(held.get("sources") or {}, sources):
            return False
        return all(self._cell(column, chunk).is_file() for column in columns for chunk in range(chunks))

    def record(self) -> Record | None:
        """The record, if the run is complete."""
        path = self.path / "record.json"
        return read_record(path) if path.is_file() else None

    def held(self, column: str, chunk: int) -> tuple[Arrays, float] | None:
        """The arrays of a computed cell and the seconds it took; a damaged one counts as not computed."""
        path = self._cell(column, chunk)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
                return arrays, float(arrays.pop("seconds"))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            path.unlink()
            return None

    def keep(self, column: str, chunk: int, arrays: Arrays, seconds: float) -> None:
        """Store a computed cell, whole or not at all; the note of an earlier failure goes."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, seconds=np.float64(seconds), **cast(dict[str, Any], arrays))
        path = self._cell(column, chunk)
        write_atomically(path, buffer.getvalue())
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
        except (KeyError, ValueError):
            self._cell(column, chunk).unlink()
            return None

    def keep_cell(self, column: str, chunk: int, cell: StoredCell) -> None:
        """Store a computed cell of a run."""
        told = {"flat_gradients": np.int64(cell.flat_gradients), "shared": np.int64(cell.shared)}
        self.keep(column, chunk, {**cell.outcomes.arrays(), **cast(dict[str, Any], told)}, cell.seconds)

    def keep_error(self, column: str, chunk: int, message: str) -> None:
        """Note why a cell failed; it is computed again next time."""
        write_atomically(self._cell(column, chunk).with_suffix(".error"), (message + "\n").encode())

    def finish(self, record: Record, outcomes: Mapping[str, Outcomes]) -> None:
        """Write the examples, then the record: it exists = it is complete."""
        write_atomically(self.path / "examples.csv", _examples_csv(outcomes).encode())
        write_atomically(self.path / "record.json", to_json(record).encode())

    def examples(self) -> dict[str, Outcomes]:
        """What each column of a complete run did to each example.

        Raises:
            BadData: there is no record, or `examples.csv` is missing, damaged, or not the record's.
        """
        path, record = self.path / "examples.csv", read_record(self.path / "record.json")
        found = read_examples(path)
        computed = {column.name for column in record.columns if column.robust is not None}
        if set(found) != computed or any(len(held) != record.examples for held in found.values()):
            raise BadData(
                f"{path} does not hold the {record.examples} examples of {', '.join(sorted(computed))}",
                "bench run again with --rerun",
            )
        return found

    def forget(self) -> None:
        """Drop the record and every cell."""
        (self.path / "record.json").unlink(missing_ok=True)
        for cell in self.path.glob("cells/*/*"):
            cell.unlink()

    def _cell(self, column: str, chunk: int) -> Path:
        return self.path / "cells" / column / f"{chunk:04d}.npz"

    def _spec(self) -> object:
        """What is written down about the run; None where nothing is, or it is damaged."""
        path = self.path / "spec.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError:
            return None


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        BadData: it is missing, unreadable, or not a record.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadData(f"{path} is not text in UTF-8, expected a record.json", "bench list runs") from None
    except OSError as error:
        why = error.strerror or error
        raise BadData(f"{path} cannot be read ({why}), expected a record.json", "bench list runs") from None
    return from_json(text, origin=str(path))


def read_examples(path: Path) -> dict[str, Outcomes]:
    """Column -> outcomes, from an `examples.csv`.

    Raises:
        BadData: it is missing, unreadable, or holds something else.
    """
    found: dict[str, list[dict[str, str]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                found.setdefault(row["column"], []).append(row)
        return {column: _outcomes(rows) for column, rows in found.items()}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, KeyError, TypeError) as error:
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
