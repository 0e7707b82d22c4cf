"""What is downloaded: over https alone, and known by what it was the first time.

Beside a downloaded file lies a note with its SHA-256, the first one that came from there. Whoever gets other
content later, because the server or somebody between has changed it, is told and gets nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import NoReturn

from bench.core.digest import file_sha256
from bench.core.json_file import read_json
from bench.errors import BadData

ENDING = ".download.json"
"""What the name of a note adds to that of its file."""


@dataclass(frozen=True)
class Download:
    """What came from somewhere the first time."""

    source: str  # an address, or a library's name for it
    sha256: str
    revision: str | None = None  # the commit, where there are such

    def __str__(self) -> str:
        return self.source if self.revision is None else f"{self.source} at commit {self.revision}"


def note_of(file: Path) -> Path:
    """Where the note of a downloaded file lies."""
    return file.with_name(f"{file.name}{ENDING}")


def noted(file: Path) -> Download | None:
    """What a file was when it was first downloaded; None: nobody noted it, so it is the user's own.

    Raises:
        BadData: the note is damaged.
    """
    note = note_of(file)
    if not note.exists():
        return None
    try:
        held = read_json(note)
        return Download(str(held["source"]), str(held["sha256"]), held["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BadData(f"{note} is damaged, expected what {file.name} was at first", f"rm {note}") from None


def note_first(file: Path, source: str, revision: str | None = None, sha256: str | None = None) -> None:
    """Note what was downloaded; `sha256` is of what has no file of its own.

    Raises:
        BadData: something else came from there the first time.
    """
    content = sha256 or file_sha256(file)
    if noted(file) is not None:
        require_first(file, content)
        return
    text = json.dumps(asdict(Download(source, content, revision)), indent=1)
    note = note_of(file)
    note.parent.mkdir(parents=True, exist_ok=True)
    part = note.with_name(f".{note.name}.{os.getpid()}.part")
    part.write_text(f"{text}\n", encoding="utf-8")
    part.replace(note)  # half a note would have the pin dropped that it is


def require_first(file: Path, sha256: str | None = None) -> None:
    """Refuse a downloaded file that is not what it was when it first came; others are passed over.

    Raises:
        BadData: it is something else.
    """
    first = noted(file)
    if first is None:
        return
    content = sha256 or file_sha256(file)
    if content != first.sha256:
        raise BadData(
            f"{file} was other content at its first download from {first} (SHA-256 {first.sha256[:12]} then, "
            f"{content[:12]} now), expected the same",
            f"rm {note_of(file)}, if it is meant to be another",
        )


def require_known(file: Path, known: Mapping[str, str]) -> None:
    """Refuse a published file that is not as it was published; `known` is name -> SHA-256.

    Raises:
        BadData: it is something else.
    """
    expected = known.get(file.name)
    if expected is not None and file.is_file() and file_sha256(file) != expected:
        raise BadData(
            f"{file} is not the file of that name as it was published, expected SHA-256 {expected[:12]}",
            f"rm {file} and running again",
        )


@contextlib.contextmanager
def https_only() -> Iterator[None]:
    """Inside, urllib opens no address without TLS, asked for or named by a server."""
    before = urllib.request._opener  # type: ignore[attr-defined]  # a program's own, which may know a proxy
    urllib.request.install_opener(urllib.request.build_opener(_NoPlainText, _NoTransfer, _NoFile))
    try:
        yield
    finally:
        urllib.request.install_opener(before)


class _NoPlainText(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        _refuse(req.full_url)


class _NoTransfer(urllib.request.FTPHandler):
    def ftp_open(self, req: urllib.request.Request) -> NoReturn:
        _refuse(req.full_url)


class _NoFile(urllib.request.FileHandler):
    def file_open(self, req: urllib.request.Request) -> NoReturn:
        _refuse(req.full_url)


def _refuse(address: str) -> NoReturn:
    raise urllib.error.URLError(f"{address} is not https, and nothing is downloaded in plain text")
