"""Weights beside published records, so that whoever has the boards can compute their numbers again.

`weights/ID.safetensors` holds the chosen weights of training ID, byte for byte those whose SHA-256 the
record names, and `weights/ID.json` says how they were made: what is in a store beside them, and what its
parents were made of. Nothing in these files is code.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.core.digest import content_id
from bench.core.files import WEIGHTS as MOST
from bench.core.files import read_bytes
from bench.core.json_file import read_json
from bench.core.text import is_id
from bench.errors import BadCheckpoint
from bench.records.files import write_atomically
from bench.records.record import Record
from bench.records.seal import check, sealed, unsealed
from bench.records.store import Store

WEIGHTS = "weights"
"""The folder beside the boards that holds them."""

LIMIT = 25_000_000
"""So many bytes of weights at most, for a repository has to travel."""

KEPT = "best.safetensors"
"""What published runs attack: the weights of the epoch that the recipe keeps."""


def trainings_of(record: Record) -> list[str]:
    """The ids of the networks behind a record: the victim, then those that its attackers own."""
    spec = record.spec
    return list(dict.fromkeys([spec["training"]["id"], *spec["others"].values()]))


def files_of(record: Record, store: Store) -> dict[str, bytes]:
    """Name -> content of each file to publish with a record, below the folder of the boards.

    Raises:
        BadCheckpoint: the weights are not in the store, or are not the record's.
    """
    found: dict[str, bytes] = {}
    for name in trainings_of(record):
        folder = store.model(name)
        weights = _weights(folder)
        told = {
            "training": _json(folder / "training.json"),
            "spec": _json(folder / "spec.json"),
            "parents": {one: _json(store.model(one) / "spec.json") for one in _forebears(name, store)},
        }
        _require_digest(weights, told["training"]["sha256"], folder / KEPT)
        found[f"{WEIGHTS}/{name}.safetensors"] = weights
        found[f"{WEIGHTS}/{name}.json"] = sealed(told).encode()
    if record.training is not None:
        own = trainings_of(record)[0]
        weights = found[f"{WEIGHTS}/{own}.safetensors"]
        _require_digest(weights, record.training.sha256, store.model(own) / KEPT)
    return found


def are_published(record: Record, folder: Path) -> bool:
    """Whether all weights behind a record lie beside the boards of a folder."""
    return all((folder / WEIGHTS / f"{name}.safetensors").is_file() for name in trainings_of(record))


def published_files(record: Record, folder: Path) -> dict[str, bytes]:
    """The same from beside other boards, or a submission.

    Raises:
        BadCheckpoint: they are damaged, or are not the record's.
    """
    with as_store(record, folder) as store:
        return files_of(record, store)


@contextmanager
def as_store(record: Record, folder: Path) -> Iterator[Store]:
    """A store for a while that holds the published networks behind a record, and nothing else.

    Raises:
        BadCheckpoint: they are not there, or are damaged.
    """
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        for name in trainings_of(record):
            _lay_out(name, folder / WEIGHTS, store)
        yield store


def _lay_out(name: str, folder: Path, store: Store) -> None:
    if not is_id(name):
        raise BadCheckpoint(f"{name[:40]!r} is no training, expected 12 hexadecimal digits")
    path = folder / f"{name}.json"
    told = _json(path)
    try:
        check(told, str(path), "the file as it was published")
        specs = {name: told["spec"], **told["parents"]}
        wrong = [one for one, held in specs.items() if not is_id(one) or content_id(held["spec"]) != one]
        training = dict(told["training"])
    except (KeyError, TypeError, AttributeError):
        wrong, specs, training = [name], {}, {}
    if wrong:
        raise BadCheckpoint(f"{path} is damaged, expected how the weights {name} were made")
    for one, held in specs.items():
        write_atomically(store.model(one) / "spec.json", json.dumps(held, indent=1, sort_keys=True).encode())
    weights = _weights(folder, f"{name}.safetensors")
    _require_digest(weights, training.get("sha256"), folder / f"{name}.safetensors")
    write_atomically(store.model(name) / KEPT, weights)
    write_atomically(store.model(name) / "training.json", sealed(unsealed(training)).encode())


def _forebears(name: str, store: Store) -> list[str]:
    """The parents of a training, theirs, and so on."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        parents = _json(store.model(waiting.pop()) / "spec.json")["spec"]["parents"].values()
        waiting += [one for one in parents if one not in found]
        found.update(dict.fromkeys(parents))
    return list(found)


def _weights(folder: Path, name: str = KEPT) -> bytes:
    try:
        return read_bytes(folder / name, MOST)
    except OSError:
        raise BadCheckpoint(f"the weights {folder / name} are not there", "--store FOLDER") from None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = read_json(path)
    except (OSError, ValueError):
        raise BadCheckpoint(f"{path} is missing or damaged, expected how weights were made") from None
    return found


def _require_digest(weights: bytes, expected: object, path: Path) -> None:
    if sha256(weights).hexdigest() != expected:
        raise BadCheckpoint(
            f"{path} is not what its training gave (the SHA-256 is another)", "the file as it was"
        )
