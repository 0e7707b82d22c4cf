"""What adapters to other people's attacks share: the lent defense, their random numbers, their extras."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Generator

from bench.attacks import streams
from bench.errors import MissingExtra


@contextmanager
def seeded(generator: Generator) -> Iterator[int]:
    """Everyone's random numbers from one seed that the generator gives, and afterwards as they were."""
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
    with streams.seeded(seed, generator.device):
        yield seed


def library(module: str, extra: str | None = None) -> ModuleType:
    """A package of other people's attacks; `extra` is what installs it, where the harness alone does not.

    Raises:
        MissingExtra: it is not installed, and the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise MissingExtra(
            f"the package {name} is not installed, expected it for attacks of that library",
            f"pip install 'robust-bench-harness[{extra}]'" if extra else f"pip install {name}",
        ) from None
