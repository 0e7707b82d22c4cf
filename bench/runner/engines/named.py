"""Which engine a text such as `local:4` names, with its parameters."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import BadValue, MissingExtra, unknown

if TYPE_CHECKING:  # they load torch, and names are checked before
    from bench.runner.options import Options
    from bench.runner.pool import Engine

HERE = "here"
"""No engine: this process computes."""


@dataclass(frozen=True)
class _Row:
    module: str
    example: str
    extra: str | None = None  # of the project, if it needs one


ENGINES: Mapping[str, _Row] = {
    "local": _Row("bench.runner.engines.local", "local:4"),
    "ray": _Row("bench.runner.engines.on_ray", "ray", "ray"),
    "slurm": _Row("bench.runner.engines.on_slurm", "slurm:partition=gpu,gpus=1,minutes=60,jobs=8", "slurm"),
}


def engine_named(text: str, options: Options) -> Engine:
    """The engine that a text names; nothing of it is started yet.

    Raises:
        BadValue, UnknownName: it names none, or its parameters are not as they must be.
        MissingExtra: what it is made of is not installed.
    """
    name, _, rest = text.partition(":")
    row = row_of(name)
    try:
        module = importlib.import_module(row.module)
        found: Engine = module.engine(rest, options)
    except ModuleNotFoundError as error:
        if row.extra is None:
            raise
        raise MissingExtra(
            f"--on {name} needs the package {error.name}, which is not installed",
            f'pip install "robust-bench-harness[{row.extra}]"',
        ) from None
    return found


def check_engine(text: str) -> None:
    """Know before anything is loaded whether `--on` can be what was typed.

    Raises:
        BadValue, UnknownName: it cannot.
    """
    name, colon, rest = text.partition(":")
    if name == HERE and not colon:
        return
    row_of(name)
    if name == "local":
        count(rest, "the number of workers of --on local", "--on local:2")


def row_of(name: str) -> _Row:
    """The engine of that name.

    Raises:
        UnknownName: there is none.
    """
    if name not in ENGINES:
        raise unknown("engine", name, [HERE, *ENGINES], hint="--on local:2")
    return ENGINES[name]


def count(text: str, what: str, hint: str, most: int = 4096) -> int:
    """A number of workers and the like.

    Raises:
        BadValue: it is none from 1 to `most`.
    """
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise BadValue(f"{what} is {text!r}, expected a whole number from 1 to {most}", hint)
    return int(text)
