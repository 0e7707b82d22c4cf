"""The resolved run that a record holds as its spec: what of it reports read, and of which types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from bench.records.kinds import ColumnName, Count, Id, NormName, Radius


class _Budget(BaseModel):
    norm: NormName
    eps: Radius


class _Knowledge(BaseModel):
    level: str
    gradients: str
    feedback: str
    max_queries: Count | None
    means: str = ""


class _Trial(BaseModel):
    column: ColumnName
    knowledge: _Knowledge
    attack: Mapping[str, Any]


class _Suite(BaseModel):
    name: str
    version: Count
    chunk: Count
    trials: list[_Trial]


class _Training(BaseModel):
    id: Id
    name: str
    data: str
    architecture: str
    seed: Count
    budget: _Budget
    defense: Mapping[str, Any]
    recipe: Mapping[str, Any]
    parents: Mapping[str, Id]
    devices: Count = 1


class _Run(BaseModel):
    """What of a whole resolved run records say again, and reports read."""

    training: _Training
    suite: _Suite
    budget: _Budget
    checkpoint: str
    others: Mapping[str, Id]


def run_contradiction(run: Mapping[str, Any]) -> str | None:
    """What of a resolved run is not as it must be; None: nothing."""
    try:
        _adapter().validate_python(run)
    except ValidationError as error:
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return None


@cache
def _adapter() -> TypeAdapter[_Run]:
    return TypeAdapter(_Run)
