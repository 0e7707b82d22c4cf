"""Weights in repositories of Hugging Face: which file is meant, and where it lies here."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bench.errors import BadCheckpoint, BadValue, BenchError, MissingExtra, UnknownName
from bench.train import pretrained
from bench.train.foreign import WeightsPlace

FOLDER = "huggingface"
"""The folder within `models`; a repository's files lie in FOLDER/REPO."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt")

CUSTOMARY = ("model.safetensors", "pytorch_model.bin")
"""The names that libraries give the one file of weights of a repository."""


def split(name: str) -> tuple[str, str | None]:
    """Repository and file, if a file is named.

    >>> split("someone/network"), split("someone/network/weights/best.pt")
    (('someone/network', None), ('someone/network', 'weights/best.pt'))
    """
    parts = name.split("/")
    return "/".join(parts[:2]), "/".join(parts[2:]) or None


def local(name: str) -> Path | None:
    """The folder that `hf:` and this name ask for, if it is one of this machine."""
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else None


def find(name: str, place: WeightsPlace) -> Path:
    """The file of weights that `hf:` and this name ask for, downloaded if need be."""
    folder_here = local(name)
    if folder_here is not None:
        return folder_here / choose(name, _files_in(folder_here))
    if Path(name).is_absolute() or name.startswith((".", "~")):
        raise BadCheckpoint(f"hf:{name} is no folder, expected one that save_pretrained wrote")
    repository, file = split(name)
    sure = (file,) if file else CUSTOMARY[:1]
    for folder in place.folders:
        for candidate in sure:
            if (folder / FOLDER / repository / candidate).is_file():
                return folder / FOLDER / repository / candidate
    if place.download:
        return _download(repository, file, place)
    for folder in place.folders if file is None else ():
        here = folder / FOLDER / repository
        held = _files_in(here)
        if _weights_among(held):
            return here / choose(repository, held)
    raise place.lacking(f"hf:{name}", [f"{FOLDER}/{repository}/{file or '*.safetensors'}"])


def choose(repository: str, names: Sequence[str]) -> str:
    """The file of weights among the files of a repository: safetensors rather than a pickle.

    >>> choose("someone/network", ["README.md", "pytorch_model.bin", "net.safetensors"])
    'net.safetensors'
    """
    found = _weights_among(names)
    usual = [name for name in CUSTOMARY if name in found]
    if not found:
        raise BadCheckpoint(f"hf:{repository} has no file of weights, expected safetensors or a pickle")
    if len(found) > 1 and not usual:
        raise BadValue(
            f"hf:{repository} has {len(found)} files of weights, expected one of {', '.join(found[:4])}",
            f"--defense hf:{repository}/{found[0]}",
        )
    return usual[0] if usual else found[0]


def _files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _weights_among(names: Sequence[str]) -> list[str]:
    """The safetensors, or where there are none the pickles."""
    visible = [name for name in names if not name.startswith(".")]
    safe = [name for name in visible if name.endswith(".safetensors")]
    return safe or [name for name in visible if PurePosixPath(name).suffix in PICKLES]


def _download(repository: str, file: str | None, place: WeightsPlace) -> Path:
    hub = _hub()
    errors = hub.errors
    name = f"hf:{repository}/{file}" if file else f"hf:{repository}"
    try:
        names = [] if file else hub.HfApi().list_repo_files(repository)
        wanted = file or choose(repository, names)
        folder = place.downloads / FOLDER / repository
        for beside in _beside(wanted, names):
            hub.hf_hub_download(repository, beside, local_dir=folder)
        return Path(hub.hf_hub_download(repository, wanted, local_dir=folder))
    except BenchError:
        raise
    except Exception as error:  # no such thing, no network, no permission, a full disk
        if isinstance(error, errors.RepositoryNotFoundError):
            raise UnknownName(f"Hugging Face has no repository {repository!r}, or not for you") from None
        if isinstance(error, errors.HFValidationError):
            raise BadValue(f"{name!r} names no repository, expected hf:OWNER/REPO[/FILE]") from None
        unreachable = isinstance(error, errors.LocalEntryNotFoundError)  # also an EntryNotFoundError
        if isinstance(error, errors.EntryNotFoundError) and not unreachable:
            raise UnknownName(f"the repository {repository!r} of Hugging Face has no file {file!r}") from None
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BadCheckpoint(
            f"{name} cannot be downloaded ({reason})",
            f"once more later, or put the file in {place.downloads / FOLDER / repository}",
        ) from None


def _beside(file: str, names: Sequence[str]) -> list[str]:
    """What else is needed to make the network of a file of weights."""
    wanted = [str(PurePosixPath(file).with_name(name)) for name in pretrained.FILES]
    return [name for name in wanted if name in names]


def _hub() -> Any:
    try:
        importlib.import_module("huggingface_hub.errors")
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise MissingExtra(
            "hf:REPO needs huggingface_hub, which is not installed", "pip install huggingface_hub"
        ) from None
