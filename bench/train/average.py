"""An exponential moving average of weights (Polyak & Juditsky, SIAM J. Control 1992, with decay)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The averaged parameters of a network; buffers, BatchNorm's above all, stay the network's own.

    After step t (from 1): average = d * average + (1 - d) * weight, d = min(decay, (1 + t) / (10 + t)), so
    that the random start is soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._live = dict(net.named_parameters())
        self._mean = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self._mean.values()), [p.detach() for p in self._live.values()], 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The network has the averaged weights inside, its own again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._live.items():
            kept = parameter.detach().clone()
            parameter.copy_(self._mean[name])
            self._mean[name].copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """The averages by parameter name, and the number of steps."""
        return {**self._mean, "": torch.tensor(self.steps)}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        self.steps = int(state[""])
        for name, mean in self._mean.items():
            mean.copy_(state[name])
