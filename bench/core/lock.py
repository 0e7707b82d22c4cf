"""The lock: the packages, by version and hash, that `make setup` installs and numbers are computed with."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import bench
from bench.core.digest import file_sha256

DISTRIBUTION = "robust-bench-harness"
"""The name that installers know the harness by."""

PATH = Path(bench.__file__).parent / "requirements.lock"
"""A requirements file of pip's; `make lock` writes it."""


@functools.cache
def digest(path: Path = PATH) -> str:
    """Twelve hexadecimal digits that name the lock's content."""
    return file_sha256(path)[:12]


@functools.cache
def locked(path: Path = PATH) -> Mapping[str, str]:
    """Package -> version that the lock has for this Python on this system."""
    return {name: version for name, version, _ in _entries(path)}


def differing(path: Path = PATH) -> dict[str, str]:
    """The packages of the lock that are installed in another version -> which.

    Packages that are absent differ in nothing, and those that the lock does not name are not looked at.
    """
    installed = {name: installed_version(name) for name in locked(path)}
    return {
        name: version
        for name, version in installed.items()
        if version is not None and version != locked(path)[name]
    }


def missing(path: Path = PATH) -> list[str]:
    """The packages of the lock that are not installed."""
    return [name for name in locked(path) if installed_version(name) is None]


def entry(package: str, path: Path = PATH) -> str | None:
    """A package's lines in the lock, as pip reads them from a file; None: the lock does not name it."""
    return next((lines for name, _, lines in _entries(path) if name == package), None)


def to_install(extra: str) -> str:
    """What to type where an optional package is missing.

    >>> to_install("zoo")
    "pip install 'robust-bench-harness[zoo]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def installed_version(package: str) -> str | None:
    """The version of an installed package; None: it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _entries(path: Path) -> list[tuple[str, str, str]]:
    """Name, version and lines of each requirement whose marker holds here."""
    from packaging.requirements import Requirement  # a moment to load, and most commands need none

    found = []
    for text in _paragraphs(path.read_text(encoding="utf-8")):
        wanted = Requirement(text.partition("\\")[0].strip())
        if wanted.marker is None or wanted.marker.evaluate():
            (pinned,) = wanted.specifier
            found.append((wanted.name, pinned.version, text))
    return found


def _paragraphs(text: str) -> list[str]:
    """Each requirement with the lines of its hashes, which are indented."""
    found: list[str] = []
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            found.append(line)
        elif line.strip().startswith("--hash"):
            found[-1] += "\n" + line
    return found
