"""Random numbers of each example's own stream, drawn on the CPU: the same on every device, in every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor


class Draws:
    """One generator for each of n examples; every draw gives [n, *shape] on the device."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._device = device
        self._generators = [Generator().manual_seed(seed) for seed in seeds]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal."""
        return self._each(lambda generator: torch.randn(tuple(shape), generator=generator))

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high)."""
        drawn = self._each(lambda generator: torch.rand(tuple(shape), generator=generator))
        return low + (high - low) * drawn

    def integers(self, shape: Sequence[int], low: int, high: int) -> Tensor:
        """Uniform whole numbers from low to high - 1, int64."""
        return self._each(lambda generator: torch.randint(low, high, tuple(shape), generator=generator))

    def poisson(self, rates: Tensor) -> Tensor:
        """Poisson of these rates [n, ...]."""
        pairs = zip(rates.cpu(), self._generators, strict=True)
        drawn = [torch.poisson(rate, generator=generator) for rate, generator in pairs]
        return torch.stack(drawn).to(self._device) if drawn else rates

    def _each(self, draw: Callable[[Generator], Tensor]) -> Tensor:
        return torch.stack([draw(generator) for generator in self._generators]).to(self._device)
