"""A worker's side: it answers messages one after the other, and holds what it was sent by digest.

It computes what an assignment says and nothing else: with other code, other packages or other weights than
the driver's it refuses in one sentence. What it keeps lies below the system's temporary folder.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import shutil
import socket
import sys
import tempfile
import time
import traceback
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch

from bench.core.digest import file_sha256, source_digests
from bench.core.imports import module_at
from bench.core.succession import changed_modules
from bench.data import memory
from bench.data.catalog import MEMORY, kind, user_path
from bench.data.extra import Extra
from bench.data.identity import identity
from bench.data.reading import parted
from bench.errors import BadValue, BenchError
from bench.plan import Init, TrainSpec
from bench.records.files import write_atomically
from bench.records.store import Store
from bench.runner.assignment import Assignment, CodeFile, UsersData, versions
from bench.runner.stale import listed
from bench.runner.wire import Answered, Lacks, Message, Raised, packed, unpacked

KEPT = 2
"""How many opened assignments a worker holds: the last ones that it was asked about."""


DEVICE = "BENCH_WORKER_DEVICE"
"""The variable that tells a worker which device is its own, where the engine deals them out."""


class _Lacking(Exception):
    """Contents that were not sent yet."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(*digests)
        self.digests = tuple(digests)


class Desk:
    """What one worker holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._players: OrderedDict[str, Any] = OrderedDict()

    def answer(self, message: Message) -> Answered | Lacks | Raised:
        """What a message asks for: the first result of its task, or what is needed for it."""
        began = time.perf_counter()
        try:
            for digest, content in message.contents.items():
                self._keep(digest, content)
            if not message.key:
                return Answered(_who())
            player = self._player(message.key)
            result = next(iter(player.play(unpacked(message.task))))
            return Answered(_who(), packed(result), time.perf_counter() - began)
        except _Lacking as error:
            return Lacks(error.digests)
        except Exception as error:
            return Raised(_as_sent(error), traceback.format_exc())

    def _player(self, key: str) -> Any:
        """The assignment of that digest, opened."""
        if key not in self._players:
            assignment = cast(Assignment, unpacked(self._content(key)))
            while len(self._players) >= KEPT:  # before: two of them may be what memory holds
                self._players.popitem(last=False)
            self._players[key] = self._opened(assignment)
        self._players.move_to_end(key)
        return self._players[key]

    def _opened(self, told: Assignment) -> Any:
        """A player that computes what the driver would."""
        torch.set_num_threads(told.threads)
        _require_same_packages(told.packages)
        self._run_files(told.files)
        work: Any = unpacked(told.work)
        _require_same_code(told.code, work.spec.modules)
        store = self._store(told, isinstance(work.spec, TrainSpec))
        places = self._places(told, work.spec)
        options = replace(told.options, store=store, device=os.environ.get(DEVICE) or told.options.device)
        return replace(work, spec=relocated(work.spec, places)).open(options)

    def _run_files(self, files: tuple[CodeFile, ...]) -> None:
        """Run the user's own files: where they lie if the same lies there, else what was sent of them."""
        here = [file for file in files if not _holds(Path(file.path), file.sha256)]
        self._require([file.sha256 for file in here])
        total = hashlib.sha256("".join(file.sha256 for file in here).encode()).hexdigest()[:12]
        for file in files:
            place = Path(file.path)
            if file in here:
                place = _place_in(self._folder / "code" / total, file)
                write_atomically(place, self._content(file.sha256))
            root = str(_root_of(place, file))
            if root not in sys.path:
                sys.path.append(root)
        for file in files:
            lies = _place_in(self._folder / "code" / total, file) if file in here else Path(file.path)
            module_at(str(lies) if file.is_given else file.module, "a file of the user's own")

    def _store(self, told: Assignment, is_to_train: bool) -> Store:
        """The driver's store, if its weights are seen from here and nothing will be written; else our own."""
        seen = told.options.store
        if not is_to_train and all(_all_there(seen.model(name), held) for name, held in told.weights.items()):
            return seen
        store = Store(self._folder / "store")
        lacking = {
            store.model(name) / file: digest
            for name, held in told.weights.items()
            for file, digest in sorted(held.items(), key=lambda item: item[0] == "training.json")
            if not _holds(store.model(name) / file, digest)
        }
        self._require(list(lacking.values()))
        for place, digest in lacking.items():  # training.json last: it exists = it is complete
            write_atomically(place, self._content(digest))
        for digest in set(lacking.values()):
            self._path(digest).unlink(missing_ok=True)
        return store

    def _places(self, told: Assignment, spec: Any) -> dict[str, str]:
        """Where data and first weights of the user's own lie here, by what the driver calls them."""
        places: dict[str, str] = {}
        away = [one for one in told.data if not _is_here(one)]
        self._require([one.content for one in away])
        for one in away:
            if kind(one.name) == MEMORY.name:
                x, y, classes = cast(Any, unpacked(self._content(one.content)))
                _HELD.append(memory.hold(x, y, classes))
            else:
                places[one.name] = self._unpacked(one)
        inits = [init for init in _inits(spec) if not _holds(init.path, init.sha256)]
        self._require([init.sha256 for init in inits])
        return {**places, **{str(init.path): str(self._path(init.sha256)) for init in inits}}

    def _unpacked(self, data: UsersData) -> str:
        """The name by which data that were sent are found here."""
        prefix, path = kind(data.name), user_path(data.name)
        place = self._folder / "data" / data.content
        if not (place / path.name).exists():
            with zipfile.ZipFile(io.BytesIO(self._content(data.content))) as archive:
                archive.extractall(place)
        return f"{prefix}:{place / path.name}{parted(data.name)[1]}"

    def _require(self, digests: list[str]) -> None:
        """Ask for all at once what is not here."""
        lacking = [digest for digest in dict.fromkeys(digests) if not self._path(digest).is_file()]
        if lacking:
            raise _Lacking(lacking)

    def _content(self, digest: str) -> bytes:
        self._require([digest])
        return self._path(digest).read_bytes()

    def _keep(self, digest: str, content: bytes) -> None:
        if len(digest) == 64 and hashlib.sha256(content).hexdigest() != digest:
            raise BadValue(f"what was sent as {digest[:12]} has another SHA-256, expected the same bytes")
        write_atomically(self._path(digest), content)

    def _path(self, digest: str) -> Path:
        return self._folder / "contents" / digest


_HELD: list[object] = []
"""Arrays that were sent: their names are known for as long as somebody holds them."""


def answer(message: bytes) -> bytes:
    """What the worker in this process answers; both are packed."""
    return packed(desk().answer(cast(Message, unpacked(message))))


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


@cache
def desk() -> Desk:
    """The desk of this process."""
    return Desk(own_folder())


def own_folder() -> Path:
    """A folder of this account on this machine, where workers share what they were sent.

    Where another account has taken its name, a folder of this process alone, which goes with it.
    """
    place = Path(tempfile.gettempdir()) / f"bench-workers-{os.getuid() if hasattr(os, 'getuid') else 0}"
    with suppress(OSError):
        place.mkdir(mode=0o700, exist_ok=True)
        held = place.stat()
        if not hasattr(os, "getuid") or (held.st_uid == os.getuid() and not held.st_mode & 0o077):
            return place
    alone = Path(tempfile.mkdtemp(prefix="bench-worker-"))
    atexit.register(shutil.rmtree, alone, ignore_errors=True)
    return alone


def relocated(spec: Any, places: Mapping[str, str]) -> Any:
    """A specification whose files of the user's own lie elsewhere; its id stays."""
    if not places:
        return spec
    if isinstance(spec, tuple):
        return tuple(relocated(one, places) for one in spec)
    if isinstance(spec, Init):
        return replace(spec, path=Path(places.get(str(spec.path), spec.path)))
    if isinstance(spec, Extra):
        return replace(spec, source=places.get(spec.source, spec.source))
    if not is_dataclass(spec) or isinstance(spec, type):
        return spec
    changed = {name: relocated(getattr(spec, name), places) for name in _HOLDERS & _fields(spec)}
    if isinstance(spec, TrainSpec):
        changed["data"] = places.get(spec.data, spec.data)
    return replace(spec, **changed)


_HOLDERS = {"training", "others", "parents", "init", "extra", "run", "attacked"}
"""The fields of specifications that hold others, or files."""


def _fields(spec: Any) -> set[str]:
    return {item.name for item in fields(spec) if item.init}


def _inits(spec: Any) -> Iterator[Init]:
    """The first weights that a training itself begins with."""
    if isinstance(spec, TrainSpec) and spec.init is not None:
        yield spec.init


def _require_same_code(code: Mapping[str, str], modules: Any) -> None:
    changed = changed_modules(code, source_digests(modules), ())
    if changed:
        raise BadValue(
            f"a worker has other code than the process that started it ({listed(changed)} differ), expected "
            "the same",
            "the same version of the code on all machines, and the command again",
        )


def _require_same_packages(packages: Mapping[str, str]) -> None:
    here = versions()
    for name, told in packages.items():
        if here.get(name) != told:
            raise BadValue(
                f"a worker has {name} {here.get(name, 'not at all')}, and the process that started it "
                f"{told}, expected the same, on which the last digits of results depend",
                f'pip install "{name}=={told}" where the worker runs',
            )


def _as_sent(error: Exception) -> Exception:
    """The error, if it can be sent; else what it says."""
    try:
        unpacked(packed(error))
    except Exception:
        return BenchError(f"{type(error).__name__}: {error}")
    return error


def _holds(path: Path, digest: str) -> bool:
    with suppress(OSError):
        return path.is_file() and file_sha256(path) == digest
    return False


def _all_there(folder: Path, files: Mapping[str, str]) -> bool:
    return all(_holds(folder / name, digest) for name, digest in files.items())


def _is_here(data: UsersData) -> bool:
    """Whether the same images lie here under the driver's name for them."""
    if kind(data.name) == MEMORY.name:
        return False
    try:
        return identity(data.name) == data.content
    except BenchError:
        return False


def _place_in(folder: Path, file: CodeFile) -> Path:
    """Where the file of a module lies below a folder from which it is imported."""
    if file.is_given:
        return folder / Path(file.path).name
    parts = file.module.split(".")
    if Path(file.path).name == "__init__.py":
        return folder.joinpath(*parts, "__init__.py")
    return folder.joinpath(*parts).with_suffix(".py")


def _root_of(place: Path, file: CodeFile) -> Path:
    """The folder from which the module in a file is imported."""
    if file.is_given:
        return place.parent
    up = file.module.count(".") + (place.name == "__init__.py")
    return place.parents[up]
