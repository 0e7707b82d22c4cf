"""RobustBench's model zoo: which networks it has, where their weights lie, how they are built.

Croce, Andriushchenko, Sehwag, Debenedetti, Flammarion, Chiang, Mittal, Hein, "RobustBench: a standardized
adversarial robustness benchmark", NeurIPS Datasets and Benchmarks 2021.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import nn

from bench.core.digest import file_sha256
from bench.core.downloads import note_first, require_first
from bench.core.files import open_regular
from bench.core.json_file import read_json
from bench.core.lock import installed_version, to_install
from bench.errors import BadCheckpoint, BadData, BadValue, MissingExtra, UnknownName, unknown
from bench.train.checkpoints import weights_of
from bench.train.foreign import WeightsPlace

Threat = Literal["Linf", "L2", "corruptions"]

DATA = ("cifar10", "cifar100", "imagenet")
"""The data sets of the zoo, by their names there."""


@dataclass(frozen=True)
class Entry:
    """One network of the zoo."""

    name: str
    data: str
    threat: str
    make: Callable[[], nn.Module]
    drive: tuple[str, ...]  # its files on Google Drive
    several: bool  # whether they are kept as those of an ensemble

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files within a folder of models, as RobustBench names them."""
        path = Path(self.data, self.threat, f"{self.name}.pt")
        if not self.several:
            return (path,)
        return tuple(path.with_name(f"{path.name}_m{place}.pt") for place in range(len(self.drive)))

    def network(self) -> nn.Module:
        """The network with fresh weights; it takes images in [0, 1]."""
        with _quiet():
            return self.make().eval()


def entry(name: str, data: str, threat: str) -> Entry:
    """The network of that name; UnknownName with a guess if there is none."""
    if data not in DATA:
        raise BadValue(
            f"RobustBench has no networks for {data}, expected {', '.join(DATA[:2])} or images of their kind",
            f"robustbench:{name}[zoo_data=cifar10] where the images and classes are those of CIFAR-10",
        )
    zoo = _robustbench()
    tables = {
        known.value: table
        for shelf, threats in zoo.all_models.items()
        if shelf.value == data
        for known, table in threats.items()
    }
    if name not in tables.get(threat, ()):
        raise _unknown(name, data, threat, {known: list(table) for known, table in tables.items()})
    found = tables[threat][name]
    drive = found["gdrive_id"]
    if not drive:
        raise BadValue(
            f"robustbench:{name} has no file of weights in the zoo, because another package brings them, "
            "expected a network with a file"
        )
    several = isinstance(drive, list)
    return Entry(name, data, threat, found["model"], tuple(drive) if several else (drive,), several)


def files(wanted: Entry, place: WeightsPlace) -> tuple[Path, ...]:
    """The files of its weights in the first folder that has them all, downloaded if none has."""
    for folder in place.folders:
        found = tuple(folder / path for path in wanted.paths)
        if all(path.is_file() for path in found):
            for path in found:
                require_first(path)
            return found
    if not place.download:
        raise place.lacking(f"robustbench:{wanted.name}", wanted.paths)
    kept = tuple(place.downloads / path for path in wanted.paths)
    for path, identity in zip(kept, wanted.drive, strict=True):
        if not path.is_file():
            _download(wanted.name, identity, path)
    return kept


def unpack(wanted: Entry, file: Path, folder: Path) -> Path:
    """All weights in one table, read by RobustBench's own code from its files beside `file`."""
    models = file.parents[2]
    for path in wanted.paths:
        _check(models / path)
    zoo = _robustbench()
    try:
        with _quiet():
            net = zoo.load_model(
                wanted.name, model_dir=models, dataset=wanted.data, threat_model=wanted.threat
            )
    except Exception as error:  # whatever a file of another network makes the reader raise
        raise BadCheckpoint(
            f"{file} does not fit robustbench:{wanted.name} ({_first_line(error)})",
            f"rm {file} to download it again",
        ) from None
    path = folder / "network.safetensors"
    safetensors.torch.save_file(weights_of(net), path)
    return path


def citation(name: str, threat: str) -> str | None:
    """Authors, title and venue, where the installed RobustBench tells them: its wheel does not."""
    package = importlib.util.find_spec("robustbench")
    for root in package.submodule_search_locations or () if package else ():
        for path in sorted(Path(root, "model_info").glob(f"*/{threat}/{name}.json")):
            told = read_json(path)
            return ", ".join(str(told[key]) for key in ("authors", "name", "venue") if told.get(key))
    return None


def _unknown(name: str, data: str, threat: str, names: dict[str, list[str]]) -> UnknownName:
    elsewhere = [known for known in names if name in names[known]]
    if elsewhere:
        return UnknownName(
            f"robustbench:{name} is a network against {elsewhere[0]}, not {threat}, on {data}",
            f"--defense robustbench:{name}[threat={elsewhere[0]}]",
        )
    known = list(dict.fromkeys([*names.get(threat, []), *(n for table in names.values() for n in table)]))
    zoo, example = f"RobustBench's zoo for {data}", f"--defense robustbench:{known[0]}"
    return unknown("network", name, known, owner=zoo, prefix="robustbench:", hint=example)


def _download(name: str, identity: str, path: Path) -> None:
    import gdown  # brought by RobustBench

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")  # others may download the same
    try:
        with contextlib.redirect_stdout(sys.stderr):
            gdown.download(id=identity, output=str(part))
        if not _is_page(part):
            note_first(path, f"Google Drive, {identity}", sha256=file_sha256(part))
        part.replace(path)
    except BadData:
        part.unlink(missing_ok=True)
        raise
    except Exception as error:  # no network, no permission, too many downloads of a popular file
        part.unlink(missing_ok=True)
        raise BadCheckpoint(
            f"the weights of robustbench:{name} cannot be downloaded ({_first_line(error)})",
            f"once more later, or put https://drive.google.com/uc?id={identity} at {path}",
        ) from None


def _is_page(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(64).lstrip().startswith(b"<")


def _check(path: Path) -> None:
    """RobustBench leaves it to torch whether a file may run code: none may."""
    try:
        page = _is_page(path)
        if not page:
            torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the reader raise
        raise BadCheckpoint(
            f"{path} is not a pickle of plain tensors ({_first_line(error)})",
            f"rm {path} to download it again",
        ) from None
    if page:
        raise BadCheckpoint(f"{path} is a web page, not weights", f"rm {path} to download it again")


def _robustbench() -> Any:
    """The part of the package that knows the zoo; it prints and warns while it is imported."""
    if installed_version("robustbench") is None:  # torchattacks alone brings an old copy of its files
        raise MissingExtra("robustbench, whose networks these are, is not installed", to_install("zoo"))
    try:
        with _quiet(), _autoattack():
            whole: Any = importlib.import_module("robustbench")
            found = importlib.import_module("robustbench.utils")
    except ImportError as error:
        raise MissingExtra(f"robustbench cannot be imported ({_first_line(error)})", "bench doctor") from None
    if not hasattr(whole, "benchmark"):
        raise MissingExtra(
            "torchattacks wrote an old copy over robustbench, expected the real one", "bench doctor --fix"
        )
    return found


@contextlib.contextmanager
def _autoattack() -> Iterator[None]:
    """RobustBench imports `autoattack`, which its dependency `pyautoattack` provides under another name."""
    if importlib.util.find_spec("autoattack") is not None:
        yield
        return
    alias = {
        "autoattack": importlib.import_module("pyautoattack"),
        "autoattack.state": importlib.import_module("pyautoattack.state"),
    }
    sys.modules.update(alias)
    try:
        yield
    finally:
        for name in alias:
            del sys.modules[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
