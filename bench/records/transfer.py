"""A transfer matrix: what images made on each network leave of each other one, and these images."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.errors import BadData
from bench.records.record import Interval, Provenance
from bench.records.store import RunFolder, write_atomically

SCHEMA = 1

FOLDER, MATRIX = "transfer", "transfer.json"

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Network:
    """One deployed network: images are made on it, and images of all are shown to it."""

    __pydantic_config__ = _STRICT

    defense: str  # the name, with what was overridden
    architecture: str
    recipe: str
    training_id: str
    sha256: str  # of its weights
    clean: Interval  # accuracy before any attack, over all n examples


@dataclass(frozen=True)
class Transfer:
    """Every network against the images of every one; sources are rows, targets columns, in one order."""

    __pydantic_config__ = _STRICT

    schema: int
    id: str
    data: str
    data_digest: str
    norm: str
    eps: str
    seed: int
    examples: int
    attack: str  # with every parameter
    knowledge: str  # of the network that images are made on
    networks: tuple[Network, ...]
    robust: tuple[tuple[Interval, ...], ...]  # [source][target], over all n examples
    spec: Mapping[str, Any]
    provenance: Provenance

    @property
    def budget(self) -> str:
        """Norm and radius as papers print them."""
        return f"{self.norm} {self.eps}"

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each network, with its architecture where it is not that of the first."""
        usual = self.networks[0].architecture
        return tuple(
            network.defense if network.architecture == usual else f"{network.defense}@{network.architecture}"
            for network in self.networks
        )

    def white_box(self, source: int, target: int) -> bool:
        """Whether the images were made on the very network that they are shown to."""
        made, shown = self.networks[source], self.networks[target]
        return made.training_id == shown.training_id or made.sha256 == shown.sha256


def to_json(found: Transfer) -> str:
    """Indented JSON, with a newline at the end."""
    return json.dumps(asdict(found), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write(folder: Path, found: Transfer) -> None:
    """The matrix: it exists = it is complete."""
    write_atomically(folder / MATRIX, to_json(found).encode())


def read(folder: Path) -> Transfer | None:
    """The matrix in a folder, strictly; None: there is none.

    Raises:
        BadData: it is unreadable or something else.
    """
    path = folder / MATRIX
    if not path.is_file():
        return None
    again = "bench transfer with --rerun"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{path} cannot be read ({error}), expected what bench transfer wrote", again) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BadData(f"{path} has schema {schema!r}, expected {SCHEMA}", again)
    try:
        return TypeAdapter(Transfer).validate_python(data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BadData(f"{path} is no valid matrix at {place}: {problem['msg']}", again) from None


class Images:
    """The adversarial images of one network below a store: `spec.json`, and a file for each chunk.

    They belong to no matrix: whoever shows them to another network need not make them again.
    """

    def __init__(self, store: Path, run_id: str) -> None:
        self._folder = RunFolder(store / FOLDER / "images" / run_id)

    def begin(self, spec: Mapping[str, Any], sources: Mapping[str, str]) -> int:
        """Note what makes them; images of other code are thrown away, and how many chunks is returned."""
        return self._folder.begin(spec, sources)

    def forget(self) -> None:
        """Drop all of them."""
        self._folder.forget()

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is stored."""
        return self._path(chunk).is_file()

    def read(self, chunk: int, ids: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """The images [m, C, H, W] at these positions of the test set; a damaged file counts as none."""
        if not self.holds(chunk):
            return None
        try:
            with np.load(self._path(chunk), allow_pickle=False) as held:
                images: NDArray[np.float32] = held["images"]
                return images if np.array_equal(held["ids"], ids) else None
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            return None

    def keep(self, chunk: int, ids: NDArray[np.int64], images: NDArray[np.float32]) -> None:
        """Store a chunk, whole or not at all."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, ids=ids, images=images)
        write_atomically(self._path(chunk), buffer.getvalue())

    def _path(self, chunk: int) -> Path:
        return self._folder.path / "cells" / "images" / f"{chunk:04d}.npz"
