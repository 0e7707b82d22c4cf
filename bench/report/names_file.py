"""Names for papers, from a file of a user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from bench.core.files import read_bytes
from bench.errors import BadData, BadValue, unknown


def read_names(path: Path, known: Collection[str]) -> Mapping[str, str]:
    """Defense -> its name in figures and tables, from TOML: `pgd_at = "PGD-AT"`.

    `known` are the defenses that may be named, with or without their fields.

    Raises:
        BadData: the file cannot be read.
        BadValue: a value is no name, a key is none of the known ones, or two share one name.
    """
    try:
        names = tomllib.loads(read_bytes(path).decode())
    except OSError as error:
        raise BadData(f"{path} cannot be read ({error.strerror}), expected a file of names") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadData(f'{path} is no TOML ({error}), expected lines such as pgd_at = "PGD-AT"') from None
    known = {*known, *(name.partition("[")[0] for name in known)}
    for defense, name in names.items():
        if not isinstance(name, str) or not name.strip():
            raise BadValue(f"{path} calls {defense} {name!r}, expected a name in quotes")
        if defense not in known:
            raise unknown("defense", defense, sorted(known), owner=str(path))
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice:
        raise BadValue(f"{path} calls two defenses {twice[0]!r}, expected a name for each")
    return names
