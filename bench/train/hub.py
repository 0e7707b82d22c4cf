"""Weights in repositories of Hugging Face: which file is meant, and where it lies here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.core.downloads import note_first, require_first
from bench.errors import BadCheckpoint, BadValue, BenchError, MissingExtra, UnknownName
from bench.train import pretrained
from bench.train.foreign import WeightsPlace

FOLDER = "huggingface"
"""The folder within `models`; a repository's files lie in FOLDER/REPO."""

_NAME = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(/(?P<file>[\w./ +-]*[\w.]))?(@(?P<revision>[\w.-]{1,100}))?", re.ASCII
)

PICKLES = (".bin", ".pt", ".pth", ".ckpt")

CUSTOMARY = ("model.safetensors", "pytorch_model.bin")
"""The names that libraries give the one file of weights of a repository."""


@dataclass(frozen=True)
class HubFile:
    """What is asked for by `hf:OWNER/REPO[/FILE][@REVISION]`."""

    repository: str
    file: str | None = None  # None: the one file of weights that there is
    revision: str | None = None  # a commit, a tag or a branch; None: whatever is there now

    @property
    def folder(self) -> str:
        """Where its files lie below `models`: revisions are told apart."""
        pinned = f"@{self.revision}" if self.revision else ""
        return f"{FOLDER}/{self.repository}{pinned}"

    def __str__(self) -> str:
        file, revision = f"/{self.file}" if self.file else "", f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repository}{file}{revision}"


def hub_file(name: str) -> HubFile:
    """What a name without its `hf:` asks for.

    >>> hub_file("someone/network/weights/best.pt"), hub_file("someone/network@v1.0").revision
    (HubFile(repository='someone/network', file='weights/best.pt', revision=None), 'v1.0')

    Raises:
        BadValue: it names no repository, a file outside of it, or no revision.
    """
    match = _NAME.fullmatch(name)
    if match is None or ".." in name.split("/"):
        raise BadValue(
            f"'hf:{name}' names no repository, expected hf:OWNER/REPO[/FILE][@REVISION], where a revision is "
            "a commit, a tag or a branch"
        )
    return HubFile(match["repository"], match["file"], match["revision"])


def local(name: str) -> Path | None:
    """The folder that `hf:` and this name ask for, if it is one of this machine; no name asks for none."""
    folder = Path(name).expanduser()
    return folder if name and folder.is_dir() else None


def find(name: str, place: WeightsPlace) -> Path:
    """The file of weights that `hf:` and this name ask for, downloaded if need be."""
    folder_here = local(name)
    if folder_here is not None:
        return folder_here / choose(name, _files_in(folder_here))
    if Path(name).is_absolute() or name.startswith((".", "~")):
        raise BadCheckpoint(f"hf:{name} is no folder, expected one that save_pretrained wrote")
    what = hub_file(name)
    found = _here(what, place) or (_download(what, place) if place.download else None)
    for folder in place.folders if found is None and what.file is None else ():
        here = folder / what.folder
        held = _files_in(here)
        if _weights_among(held):
            found = here / choose(what.repository, held)
            break
    if found is None:
        raise place.lacking(str(what), [f"{what.folder}/{what.file or '*.safetensors'}"])
    require_first(found)
    return found


def _here(what: HubFile, place: WeightsPlace) -> Path | None:
    """The file that is surely meant, in the first folder that has it."""
    file = what.file or CUSTOMARY[0]
    there = (folder / what.folder / file for folder in place.folders)
    return next((path for path in there if path.is_file()), None)


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


def _download(what: HubFile, place: WeightsPlace) -> Path:
    """The file as it is at the commit that the revision means now; the commit is noted beside it."""
    hub = _hub()
    errors, repository, file = hub.errors, what.repository, what.file
    _require_https(hub)
    try:
        told = hub.HfApi().model_info(repository, revision=what.revision)
        names = [held.rfilename for held in told.siblings]
        chosen, folder = file or choose(repository, names), place.downloads / what.folder
        for beside in _beside(chosen, names):
            hub.hf_hub_download(repository, beside, revision=told.sha, local_dir=folder)
        path = Path(hub.hf_hub_download(repository, chosen, revision=told.sha, local_dir=folder))
        note_first(path, f"https://huggingface.co/{repository}", told.sha)
        return path
    except BenchError:
        raise
    except Exception as error:  # no such thing, no network, no permission, a full disk
        if isinstance(error, errors.RepositoryNotFoundError):
            raise UnknownName(f"Hugging Face has no repository {repository!r}, or not for you") from None
        if isinstance(error, errors.HFValidationError):
            raise BadValue(f"'{what}' names no repository, expected hf:OWNER/REPO[/FILE]") from None
        if isinstance(error, errors.RevisionNotFoundError):
            raise UnknownName(f"the repository {repository!r} has no revision {what.revision!r}") from None
        unreachable = isinstance(error, errors.LocalEntryNotFoundError)  # also an EntryNotFoundError
        if isinstance(error, errors.EntryNotFoundError) and not unreachable:
            raise UnknownName(f"the repository {repository!r} of Hugging Face has no file {file!r}") from None
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BadCheckpoint(
            f"{what} cannot be downloaded ({reason})",
            f"once more later, or put the file in {place.downloads / what.folder}",
        ) from None


def _beside(file: str, names: Sequence[str]) -> list[str]:
    """What else is needed to make the network of a file of weights."""
    wanted = [str(PurePosixPath(file).with_name(name)) for name in pretrained.FILES]
    return [name for name in wanted if name in names]


def _require_https(hub: Any) -> None:
    endpoint = str(getattr(getattr(hub, "constants", None), "ENDPOINT", "https://huggingface.co"))
    if not endpoint.startswith("https://"):
        raise BadValue(
            f"HF_ENDPOINT is {endpoint!r}, where nothing is encrypted, expected an address that begins with "
            "https://",
            "unset HF_ENDPOINT",
        )


def _hub() -> Any:
    try:
        importlib.import_module("huggingface_hub.errors")
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise MissingExtra(
            "hf:REPO needs huggingface_hub, which is not installed", "pip install 'robust-bench-harness[hf]'"
        ) from None
