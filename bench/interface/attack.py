"""Adversarial images of a network that a program holds, found and judged as in a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api import Trial
from bench.attacks.others.signature import column_of
from bench.core.listing import listing
from bench.core.threat import Source
from bench.errors import unknown
from bench.interface.evaluate import evaluate
from bench.interface.given import arrays_of
from bench.plan import KNOWLEDGE
from bench.registry import ATTACKS, SUITES

SEES = (Source.DEPLOYED, Source.NOTHING)
"""What the attack of a column may climb to be one on a single network: that network, or none."""


def attack(
    model: object,
    x: NDArray[Any] | Tensor,
    y: object,
    name: str,
    *,
    parameters: Mapping[str, object],
    **given: Any,
) -> NDArray[Any] | Tensor:
    """See bench.attack."""
    images, labels = arrays_of(x, y)
    registered, trial = _meant(name)
    part = f"attack.{column_of(registered)}"
    result = evaluate(
        model,
        images,
        labels,
        name=None,
        store=None,
        attacks=registered,
        knowledge=None if trial is None else _word(trial),
        settings={f"{part}.{key}": value for key, value in parameters.items()},
        preset={} if trial is None else {part: _fields(trial.attack)},
        suite=None,
        examples=None,
        data_root=None,
        **given,
    )
    found = result.images
    return _changed(x, images.shape, found.ids, found.x)


def _meant(name: str) -> tuple[str, Trial | None]:
    """The registered name of an attack, and the column that was named in its place, if one was."""
    if name in ATTACKS.names() or ATTACKS.scheme(name) is not None or name.endswith(".py") or ".py:" in name:
        return name, None
    columns = dict(reversed([(trial.column, trial) for trial in _trials()]))
    if name not in columns:
        raise unknown("attack", name, [*ATTACKS.names(), *columns], hint="bench list attacks")
    return str(_registered(columns[name])), columns[name]


def _trials() -> Iterator[Trial]:
    """The columns of all suites that are a registered attack on one network; those of whitebox come first."""
    for suite in ("whitebox", *(name for name in SUITES.names() if listing(name).command is None)):
        for trial in SUITES.get(suite).trials:
            if trial.knowledge.gradients in SEES and _registered(trial) is not None:
                yield trial


def _registered(trial: Trial) -> str | None:
    kind = type(trial.attack)
    place = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name in ATTACKS.names() if ATTACKS.location(name) == place), None)


def _word(trial: Trial) -> str | None:
    return next((word for word, knowledge in KNOWLEDGE.items() if knowledge == trial.knowledge), None)


def _fields(attack: Any) -> dict[str, Any]:
    return {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack)}


def _changed(
    x: NDArray[Any] | Tensor, shape: tuple[int, ...], ids: NDArray[np.int64], found: NDArray[np.float32]
) -> NDArray[Any] | Tensor:
    """The images as they were given, those that fell replaced; float in [0, 1] where they were bytes."""
    if tuple(x.shape) != shape:  # channels last, or none
        found = found[:, 0] if x.ndim == 3 else found.transpose(0, 2, 3, 1)
    if isinstance(x, Tensor):
        changed = x.detach().float() / 255 if x.dtype == torch.uint8 else x.detach().clone()
        changed[torch.from_numpy(ids).to(x.device)] = torch.from_numpy(found).to(x.device, changed.dtype)
        return changed
    pixels = np.asarray(x)
    whole = pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels.copy()
    whole[ids] = found
    return whole
