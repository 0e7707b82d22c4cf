"""Single files: whether they can be read, and hold what files of their kind do."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.digest import content_id
from bench.core.files import WEIGHTS, read_bytes, regular
from bench.core.json_file import read_json
from bench.errors import BadData
from bench.records.arrays import LIMIT, reason, unpacked
from bench.records.seal import check, without_sum


def spec_wrong(folder: Path) -> str | None:
    """Why the `spec.json` of a folder does not say what the folder's name stands for; None: it does."""
    held = json_object(folder / "spec.json")
    if isinstance(held, str):
        return held
    try:
        check(held, "", "")
        named = content_id(held["spec"])
    except BadData:
        return "was changed after it was written"
    except (KeyError, ValueError, TypeError, RecursionError):
        return "holds no spec"
    return None if named == folder.name else f"is of {named}, not of {folder.name}"


def json_object(path: Path) -> Mapping[str, Any] | str:
    """The object in a JSON file, or what is wrong with the file."""
    try:
        held = read_json(path)
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError) as error:
        return f"is damaged ({reason(error)})"
    return held if isinstance(held, dict) else "holds no JSON object"


def arrays_wrong(path: Path) -> str | None:
    """Why a file of arrays cannot be read; None: it can."""
    try:
        unpacked(read_bytes(path, LIMIT))
    except (OSError, ValueError) as error:
        return f"is damaged ({reason(error)})"
    return None


def archive_wrong(path: Path) -> str | None:
    """Why a checkpoint, a zip archive with its digest at the end, is not whole; None: it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(without_sum(read_bytes(path, WEIGHTS)))) as archive:
            broken = archive.testzip()
    except Exception as error:  # damage makes zipfile and zlib raise whatever they met
        return f"is damaged ({reason(error)})"
    return None if broken is None else f"is damaged ({broken})"


def weights_wrong(path: Path) -> str | None:
    """Why a file of weights cannot be read; None: it can."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(regular(path), framework="numpy") as held:
            names = held.keys()
    except (OSError, SafetensorError) as error:
        return f"is damaged ({reason(error)})"
    return None if names else "holds no weights"
