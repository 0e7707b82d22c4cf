"""A name for the content of a user's own data, cheap enough to compute before anything is loaded."""

from __future__ import annotations

from bench.core.digest import content_id, file_sha256
from bench.data.catalog import PREFIXES, user_path
from bench.errors import BadData


def identity(name: str) -> str | None:
    """The content behind `npz:PATH` (its bytes) or `folder:PATH` (names and sizes of its files).

    None for a data set with a published name, which is its identity.

    Raises:
        BadData: there is nothing at that path.
    """
    if name.partition(":")[0] not in PREFIXES:
        return None
    path = user_path(name)
    if path.is_file():
        return file_sha256(path)[:12]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return content_id([[file.relative_to(path).as_posix(), file.stat().st_size] for file in files])
    raise BadData(f"there is nothing at {str(path)!r}, which --data {name} names", "--data PREFIX:PATH")
