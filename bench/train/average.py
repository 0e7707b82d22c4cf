"""An exponential moving average of weights (Polyak & Juditsky, SIAM J. Control 1992, with decay)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


class Average:
    """The averaged parameters of a network; buffers, BatchNorm's above all, stay the network's own.

    After step t (from 1): average = d * average + (1 - d) * weight, d = min(decay, (1 + t) / (10 + t)), so
    that the random start is soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self._net = net
        self._averaged = AveragedModel(net, multi_avg_fn=self._lerp)
        self._averaged.update_parameters(net)  # the first only copies: the random start is averaged, too

    @property
    def steps(self) -> int:
        """How many times weights were taken in."""
        return int(self._averaged.n_averaged) - 1

    def update(self) -> None:
        """Take in the weights as they are now."""
        self._averaged.update_parameters(self._net)

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
        means = self._means()
        for name, parameter in self._net.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(means[name])
            means[name].copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """The averages by parameter name, and the number of steps."""
        return {**self._means(), "": torch.tensor(self.steps)}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        self._averaged.n_averaged.fill_(int(state[""]) + 1)
        for name, mean in self._means().items():
            mean.copy_(state[name])

    def _means(self) -> dict[str, Tensor]:
        return {name: mean.detach() for name, mean in self._averaged.module.named_parameters()}

    def _lerp(self, means: Tensors, weights: Tensors, _: Tensor | int) -> None:
        """One step of the average; the count is read where it lies, on the CPU, so that no GPU waits."""
        step = self.steps + 1
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(means, weights, 1 - decay)
