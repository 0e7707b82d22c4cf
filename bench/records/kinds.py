"""What the words and figures of a record may be, for whoever reads one: checked on reading, not when made."""

from __future__ import annotations

import re
import shlex
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from bench.core.threat import parse_eps
from bench.errors import BadValue

LARGEST = 2**63 - 1
"""The largest count: what 64 bits hold."""


def _radius(text: str) -> str:
    try:
        parse_eps(text)
    except BadValue as error:
        raise ValueError(error.message) from None
    return text


def _plain(name: str) -> str:
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise ValueError(f"{name[:60]!r} is no plain name, expected one without folders")
    return name


def _column(name: str) -> str:
    if not re.match(r"\w", name):
        raise ValueError(f"{name[:60]!r} is no name of a column, expected one that begins with a letter")
    return _plain(name)


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is no command ({error}), expected one of bench") from None
    if words[:1] != ["bench"]:
        raise ValueError(f"{text[:60]!r} is no command of bench, expected one")
    return shlex.join(words)


Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
"""What names a run, a training, a study, data or code by its content."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""What names the bytes of a file."""

Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")]
"""A commit of git, or its beginning."""

ColumnName = Annotated[str, AfterValidator(_column)]
"""What a column is called: the name of a folder of cells, and of a field in a spreadsheet."""

Command = Annotated[str, AfterValidator(_command)]
"""A command of bench as a shell takes it, each word quoted: it can be typed, and runs nothing else."""

PlainName = Annotated[str, AfterValidator(_plain)]
"""What may be the name of a file or of a folder: it leads nowhere else."""

NormName = Annotated[str, StringConstraints(pattern=r"^L(inf|2|1|0)$")]
"""A norm as papers print it; see bench.core.threat.Norm."""

Radius = Annotated[str, AfterValidator(_radius)]
"""An exact radius in pixel units, as users type it."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
"""How many of something there are."""

Amount = Annotated[float, Field(ge=0)]
"""Seconds, passes or distances: finite, and never less than nothing."""
