"""Image data sets of Hugging Face: test images out of their Parquet files, from its cache or a folder.

The files are read as they are, so no code of a repository is run and its library `datasets` is not needed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.json_file import parse_json
from bench.core.progress import Progress
from bench.data.arrays import LABELS, TEST
from bench.data.catalog import source, user_path, with_parameters
from bench.data.pictures import Encoded, decode
from bench.data.reading import Reading, parted
from bench.data.splits import DataRequest, Splits, of_test_images
from bench.errors import BadData, BenchError, MissingExtra

REVISIONS = ("main", "refs/convert/parquet")
"""Where a repository's Parquet files are: its own, or those into which the hub converted others."""

TIMEOUT = 30.0
"""Seconds without an answer after which the hub is given up."""

EXTRA = "pip install 'robust-bench-harness[hf]'"
"""What to type where a package is missing."""

_REPOSITORY = re.compile(r"([\w.-]+/)?[\w.-]+")

_SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d+)-of-(?P<count>\d+)(-[0-9a-f]+)?")


@dataclass(frozen=True)
class Shard:
    """One Parquet file, by what its name says."""

    name: str  # relative to the repository
    config: str
    split: str
    count: int  # of files of its split; 0: it does not say


def read(request: DataRequest, progress: Progress) -> Splits:
    """The images of one split of `hf-data:OWNER/NAME`, all for testing, with the names of their classes."""
    files = located(_whole(request), request.download, progress)
    images, labels = _columns(_opened(files[0]).schema_arrow, request)
    table = _rows(files, (images, labels))
    y, classes = _labels(table, labels, request)
    title = source(request.name).name
    pictures = [
        Encoded(f"image {row} of {title}", partial(_content, table.column(images), row, title))
        for row in range(len(y))
    ]
    if not pictures:
        raise BadData(f"{title} has no images in {', '.join(map(str, files))}, expected at least one")
    return of_test_images(decode(pictures, f"{title}: test images", progress, request.reading), y, classes)


def located(name: str, download: bool, progress: Progress | None = None) -> list[Path]:
    """The files of the split that a name asks for, in their order: in a folder, in the cache, or downloaded.

    Raises:
        BadData: they are nowhere, not whole, or the name leads to several splits.
        MissingExtra: a package is not installed.
    """
    reading, path = source(name).reading, user_path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        return [path / shard.name for shard in _chosen(_names_in(path), name, reading)]
    repository = parted(name)[0].partition(":")[2].strip()
    if _REPOSITORY.fullmatch(repository) is None:
        raise BadData(f"{name} names no data set of Hugging Face, nor a folder", "--data hf-data:OWNER/NAME")
    hub, whole = _library("huggingface_hub"), None
    for folder in _cached(hub, repository):
        try:
            return [folder / shard.name for shard in _chosen(_names_in(folder), name, reading)]
        except BadData as error:  # less is in the cache than there is: the hub may have it
            whole = error
    if not download:
        raise whole or BadData(
            f"{name} is not in the cache of Hugging Face, and downloading is switched off, expected its "
            "Parquet files",
            f"once without --offline, or hf download {repository} --repo-type dataset on a machine with a "
            "network, or hf-data:FOLDER of its files",
        )
    return _downloaded(hub, repository, name, reading, progress)


def _cached(hub: Any, repository: str) -> Iterator[Path]:
    """The snapshots of a repository that are in the cache."""
    for revision in REVISIONS:
        try:
            held = hub.snapshot_download(
                repository, repo_type="dataset", revision=revision, local_files_only=True
            )
        except Exception:  # there is none: the hub has several errors for that, and says what a name lacks
            continue
        if any(Path(held).rglob("*.parquet")):
            yield Path(held)


def _downloaded(
    hub: Any, repository: str, name: str, reading: Reading, progress: Progress | None
) -> list[Path]:
    try:
        revision, files = _listed(hub, repository)
        shards = _chosen(files, name, reading)
        if progress is not None:
            progress.say(f"downloading {len(shards)} files of {repository} into the cache of Hugging Face")
        fetch = partial(hub.hf_hub_download, repository, repo_type="dataset", revision=revision)
        got = [Path(fetch(shard.name)) for shard in reversed(shards)]  # broken off, the first are lacking
        return got[::-1]
    except BenchError:
        raise
    except Exception as error:  # no such thing, no network, no permission, a full disk
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BadData(
            f"{name} is not in the cache of Hugging Face and cannot be downloaded ({reason})",
            f"hf download {repository} --repo-type dataset on a machine with a network, and hf-data:FOLDER "
            "of its files",
        ) from None


def _listed(hub: Any, repository: str) -> tuple[str, list[str]]:
    """The revision that has Parquet files, and their names; none where no revision has any."""
    for revision in REVISIONS:
        try:
            info = hub.HfApi().dataset_info(repository, revision=revision, timeout=TIMEOUT)
        except hub.errors.RevisionNotFoundError:  # nothing was converted
            continue
        files = [held.rfilename for held in info.siblings if held.rfilename.endswith(".parquet")]
        if files:
            return revision, files
    return REVISIONS[0], []


def _names_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.parquet"))]


def _chosen(names: Sequence[str], name: str, reading: Reading) -> list[Shard]:
    """The files of one split of one data set, all of them."""
    shards = [_shard(file) for file in sorted(names)]
    if not shards:
        raise BadData(f"{name} has no Parquet files, expected some", "--data folder:PATH or npz:PATH")
    config = _one_of("config", [shard.config for shard in shards], name, reading, ("default",))
    shards = [shard for shard in shards if shard.config == config]
    split = _one_of("split", [shard.split for shard in shards], name, reading, TEST)
    shards = [shard for shard in shards if shard.split == split]
    if shards[0].count not in (0, len(shards)):
        raise BadData(
            f"{name} has {len(shards)} of {shards[0].count} files of its split {split}, expected all of them",
            "once without --offline",
        )
    numbers = [int(stem) for shard in shards if (stem := PurePosixPath(shard.name).stem).isdecimal()]
    if numbers and sorted(numbers) != list(range(len(numbers))):
        raise BadData(
            f"{name} lacks files of its split {split}, expected numbers from 0 on without a gap",
            "once without --offline",
        )
    return shards


def _one_of(what: str, held: Sequence[str], name: str, reading: Reading, usual: Sequence[str]) -> str:
    """The one that is asked for, the only one, or the first of the usual ones."""
    there, asked = sorted({*held}), getattr(reading, what)
    if asked is not None:
        if asked not in there:
            raise BadData(
                f"{name} has no {what} {asked!r}, expected one of {', '.join(there)}",
                f'--data "{with_other(name, what, there[0])}"',
            )
        return str(asked)
    found = there if len(there) == 1 else [word for word in usual if word in there]
    if not found:
        raise BadData(
            f"{name} has {len(there)} {what}s ({', '.join(there[:6])}), expected to be told which",
            f'--data "{with_other(name, what, there[0])}"',
        )
    return found[0]


def with_other(name: str, what: str, value: str) -> str:
    """The name with another value in its brackets.

    >>> with_other("hf-data:a/pets[split=all]", "split", "test")
    'hf-data:a/pets[split=test]'
    """
    held = source(name).reading
    kept = {key: getattr(held, key) for key in source(name).parameters if key != what}
    return with_parameters(parted(name)[0], **{**kept, what: value})


def _shard(name: str) -> Shard:
    """What a name says: data/SPLIT-00000-of-00002.parquet, CONFIG/SPLIT/0000.parquet, SPLIT.parquet."""
    path = PurePosixPath(name)
    folders = [part for part in path.parts[:-1] if part != "data"]
    match = _SHARD.fullmatch(path.stem)
    if match is not None:
        return Shard(name, "/".join(folders) or "default", match["split"], int(match["count"]))
    if folders and (path.stem.isdigit() or folders[-1] in (*TEST, "train")):
        return Shard(name, "/".join(folders[:-1]) or "default", folders[-1], 0)
    return Shard(name, "/".join(folders) or "default", path.stem, 0)


def _opened(file: Path) -> Any:
    """A file of pyarrow, whose rows are read when they are asked for."""
    try:
        return _library("pyarrow.parquet").ParquetFile(file, memory_map=True)
    except (OSError, ValueError, _library("pyarrow").ArrowException) as error:
        raise _unreadable(file, error) from error


def _rows(files: Sequence[Path], columns: Sequence[str]) -> Any:
    """The columns of all files, as a table of pyarrow."""
    arrow, tables = _library("pyarrow"), []
    for file in files:
        try:
            tables.append(_opened(file).read(columns=[*columns]).select([*columns]))
        except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
            raise _unreadable(file, error) from error
    try:
        return arrow.concat_tables(tables)
    except (ValueError, arrow.ArrowException) as error:
        raise BadData(f"{files[0].parent} has files of different columns, expected one data set") from error


def _unreadable(file: Path, error: Exception) -> BadData:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    return BadData(f"{file} is not a readable Parquet file ({reason})")


def _features(schema: Any) -> Mapping[str, Any]:
    """What the file says of its columns beyond their types; empty: nothing."""
    held = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        found = parse_json(held)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _columns(schema: Any, request: DataRequest) -> tuple[str, str]:
    """The names of the columns of images and of labels."""
    types = {field.name: field.type for field in schema}
    kinds = {name: _kind(held) for name, held in _features(schema).items() if name in types}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    images = images or [name for name, kind in types.items() if _holds_bytes(kind)]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels = labels or [name for name in types if name.lower() in LABELS]
    return (
        _one_column("image", images, list(types), request),
        _one_column("label", labels, list(types), request),
    )


def _kind(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, Mapping) else None


def _holds_bytes(kind: Any) -> bool:
    return str(kind) in ("binary", "large_binary") or str(kind).startswith("struct<bytes: binary")


def _one_column(what: str, found: Sequence[str], there: Sequence[str], request: DataRequest) -> str:
    asked = getattr(request.reading, what)
    if asked is not None and asked in there:
        return str(asked)
    if asked is None and len(found) == 1:
        return found[0]
    told = f"no column {asked!r}" if asked is not None else f"{len(found)} columns that may be the {what}"
    raise BadData(
        f"{request.name} has {told}, expected one of {', '.join(found or there)}",
        f'--data "{with_other(_whole(request), what, (found or there)[0])}"',
    )


def _whole(request: DataRequest) -> str:
    return request.name + request.reading.beside(Reading())


def _labels(table: Any, column: str, request: DataRequest) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels [N] with the names of the classes; words are classes in the order of the alphabet."""
    held, place = table.column(column), f"the column {column!r} of {request.name}"
    if held.null_count:
        raise BadData(f"{place} has {held.null_count} images without a label, expected one for each")
    values = held.to_pylist()
    if values and all(isinstance(value, str) for value in values):
        names, y = np.unique(values, return_inverse=True)
        return y.astype(np.int64), tuple(map(str, names))
    if not all(isinstance(value, int) for value in values):
        raise BadData(f"{place} holds {held.type}, expected a class for each image, as number or word")
    y = np.array(values, np.int64)
    if len(y) and (y == -1).all():
        raise BadData(
            f"{place} is -1 for all: the labels of this split were not published",
            f'--data "{with_other(_whole(request), "split", "validation")}"',
        )
    feature = _features(table.schema).get(column)
    told = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(told, list) and all(isinstance(name, str) for name in told):
        return y, tuple(told)
    return y, ()


def _content(column: Any, row: int, title: str) -> bytes:
    """The bytes of one picture, which lie in the table itself."""
    held = column[row].as_py()
    content = held.get("bytes") if isinstance(held, Mapping) else held
    if not isinstance(content, bytes):
        raise BadData(f"image {row} of {title} is not in its Parquet file, expected the pictures themselves")
    return content


def _library(name: str) -> Any:
    load: Callable[[str], Any] = importlib.import_module
    try:
        if name == "huggingface_hub":
            load(f"{name}.errors")
        return load(name)
    except ImportError:
        package = name.partition(".")[0]
        raise MissingExtra(f"hf-data:NAME needs {package}, which is not installed", EXTRA) from None
