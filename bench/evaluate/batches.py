"""Work on many examples in device batches, halved when memory runs out; results do not depend on the size."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

log = logging.getLogger(__name__)

T = TypeVar("T")

AUTO = {"cuda": 1024, "mps": 256, "cpu": 128}
"""Where `--batch-size auto` begins, by kind of device."""


class Batches:
    """A batch size that only ever shrinks, shared by everything that runs on one device."""

    def __init__(self, size: int) -> None:
        self.size = size

    def map(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """The function's results on slices of all inputs [n, ...], concatenated."""
        return self.map_many(lambda *parts: (function(*parts),), *inputs)[0]

    def map_many(self, function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
        """The same for a function that returns several tensors.

        A batch that does not fit is tried again at half the size, down to one example.
        """
        n = len(inputs[0])
        results: list[tuple[Tensor, ...]] = []
        start = 0
        while start < n:
            stop = start + self.size
            parts = inputs if self.size >= n else tuple(tensor[start:stop] for tensor in inputs)
            fits = True
            try:
                results.append(function(*parts))
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
                fits = False
            if fits:
                start = stop
                continue
            self.size = max(1, min(self.size, n) // 2)
            torch.cuda.empty_cache()  # here, where the error and the tensors of its frames are gone
            log.warning("out of memory: batches of %d from here on, with the same results", self.size)
        if len(results) == 1:
            return results[0]
        return tuple(torch.cat(column) for column in zip(*results, strict=True))


def as_many_as_fit(look: Callable[[int], T], n: int) -> T:
    """What a look at n examples gives, or at half as many where that does not fit into memory, down to two.

    For what must see examples side by side, such as whether they change each other's answers.
    """
    while True:
        try:
            return look(n)
        except torch.OutOfMemoryError:
            if n <= 2:
                raise
        n //= 2
        torch.cuda.empty_cache()
        log.warning("out of memory: %d examples are looked at together", n)
