"""What a worker must be told to compute a part of a run, wherever it is; nothing in it is a path to trust.

An `Assignment` is frozen and names everything by its content: the code that must be there, files of the
user's own, weights, data. The driver keeps the contents and sends those that a worker lacks; a worker trains
nothing that it was not asked to train, and writes to no store but one of its own.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch

from bench.core.digest import file_sha256, source_digests
from bench.core.files import WEIGHTS, read_bytes
from bench.core.imports import file_of
from bench.core.own import own_source, with_own_imports
from bench.core.progress import Silent
from bench.data import memory
from bench.data.catalog import MEMORY, PREFIXES, kind, source, user_path
from bench.data.splits import DataRequest
from bench.plan import RunSpec, TrainSpec
from bench.records.store import Store
from bench.runner.options import Options
from bench.runner.trackers.guard import Untracked
from bench.runner.wire import packed
from bench.train.fit import trained_in

Content = Callable[[], bytes]
"""What makes the bytes behind a digest, when somebody lacks them."""

PACKAGES = ("torch", "numpy", "torchvision", "timm")
"""Whose versions decide the last digits of results."""


class Workable(Protocol):
    """What can be sent to workers: a run, a study or a training, see `bench.runner.executors.Work`."""

    @property
    def spec(self) -> Any:
        """All that decides the result; it says its `modules`."""

    @property
    def weights(self) -> Mapping[str, str]:
        """Training -> SHA-256 of the weights that the driver has, all of which the worker needs."""


@dataclass(frozen=True)
class CodeFile:
    """A Python file of the user's own."""

    module: str
    path: str  # where it lies for the driver; a worker runs it there if it has the same content there
    sha256: str
    is_given: bool  # run from its file, not imported by its name


@dataclass(frozen=True)
class UsersData:
    """Images of the user's own."""

    name: str  # npz:PATH and the like, or memory:DIGEST
    content: str  # twelve hexadecimal digits of their bytes


@dataclass(frozen=True)
class Assignment:
    """What a worker must be told, and is held to."""

    work: bytes  # packed, for its classes may be in the files
    code: Mapping[str, str]  # module behind the result -> digest
    packages: Mapping[str, str]  # name -> version
    files: tuple[CodeFile, ...]
    weights: Mapping[str, Mapping[str, str]]  # training -> file -> SHA-256
    data: tuple[UsersData, ...]
    threads: int
    options: Options  # how the driver does it: device, batch size, where things lie if they can be seen


@dataclass(frozen=True)
class Assigned:
    """An assignment with the contents that a worker may lack, by digest; the driver keeps it."""

    key: str
    contents: Mapping[str, Content] = field(repr=False)


def assigned(work: Workable, options: Options) -> Assigned:
    """What workers are told of some work, as it is now.

    Raises:
        BadValue: the work cannot be sent.
    """
    modules = list(work.spec.modules)
    trainings = [spec for run in runs_of(work.spec) for spec in trainings_of(run)]
    files = tuple(code_files(modules))
    data = tuple(dict.fromkeys(found for spec in trainings for found in users_data(spec)))
    weights = {name: weight_files(options.store, name) for name in sorted(work.weights)}
    assignment = Assignment(
        work=packed(work),
        code=source_digests(modules),
        packages=versions(),
        files=files,
        weights=weights,
        data=data,
        threads=torch.get_num_threads(),
        options=_as_sent(options),
    )
    content = packed(assignment)
    contents: dict[str, Content] = {}
    for file in files:  # read now: what was planned is what is computed, whatever is edited meanwhile
        contents[file.sha256] = partial(bytes, read_bytes(Path(file.path)))
    contents |= {one.content: partial(content_of_data, one) for one in data}
    for name, held in weights.items():
        folder = options.store.model(name)
        contents |= {digest: partial(read_bytes, folder / file, WEIGHTS) for file, digest in held.items()}
    for spec in trainings:
        if spec.init is not None and spec.id not in work.weights:
            contents[spec.init.sha256] = partial(read_bytes, spec.init.path, WEIGHTS)
    key = hashlib.sha256(content).hexdigest()
    return Assigned(key, {**contents, key: lambda: content})


def _as_sent(options: Options) -> Options:
    """How it is done, for a worker: what is in the store was looked at, and nothing is told twice."""
    return replace(
        options,
        store=Store(options.store.root.absolute()),
        data_root=None if options.data_root is None else options.data_root.absolute(),
        stale="accept",
        pool=None,
        progress=Silent(),
        track=None,
        tracking=Untracked(),
    )


def trainings_of(spec: RunSpec | TrainSpec) -> Iterator[TrainSpec]:
    """Every training behind a run or a training, itself included, parents before students."""
    if isinstance(spec, RunSpec):
        for training in (spec.training, *(other for _, other in spec.others)):
            yield from trainings_of(training)
        return
    for _, parent in spec.parents:
        yield from trainings_of(parent)
    yield spec


def runs_of(spec: Any) -> tuple[RunSpec | TrainSpec, ...]:
    """What is behind the specification of a run, a training or a study."""
    return (spec,) if isinstance(spec, (RunSpec, TrainSpec)) else tuple(spec.runs)


def versions() -> dict[str, str]:
    """The versions of the packages that decide last digits, of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_files(modules: Iterable[str]) -> Iterator[CodeFile]:
    """The files of the user's own behind a result: run from a path, or imported by such."""
    for name in with_own_imports(dict.fromkeys(modules)):
        module = sys.modules.get(name)
        given = None if module is None else file_of(module)
        path = given or own_source(name)
        if path is not None and name != "__main__":
            yield CodeFile(name, str(path), file_sha256(path), given is not None)


def users_data(spec: TrainSpec) -> Iterator[UsersData]:
    """The images of the user's own that a training or an attack reads."""
    if spec.data_identity is not None and kind(spec.data) in PREFIXES:
        yield UsersData(spec.data, spec.data_identity)
    if kind(spec.data) == MEMORY.name:
        yield UsersData(spec.data, spec.data.partition(":")[2])
    if spec.extra is not None:
        yield UsersData(spec.extra.source, spec.extra.content)


def content_of_data(data: UsersData) -> bytes:
    """The file, or the files of a folder in one archive, or the arrays in memory."""
    if kind(data.name) == MEMORY.name:
        request = DataRequest(data.name, None, False, source(data.name).reading)
        splits = memory.read(request, Silent())
        return packed((splits.x_test, splits.y_test, len(splits.classes)))
    path, buffer = user_path(data.name), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            archive.write(file, path.name if file == path else f"{path.name}/{file.relative_to(path)}")
    return buffer.getvalue()


def weight_files(store: Store, training: str) -> dict[str, str]:
    """The files of complete weights in a store, with their digests."""
    folder = store.model(training)
    trained = trained_in(folder, training)
    assert trained is not None  # the driver has them
    named = sorted({*trained.files, trained.weights.name, "spec.json", "training.json"})
    return {name: file_sha256(folder / name) for name in named if (folder / name).is_file()}
