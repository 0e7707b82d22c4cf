"""SimBA, the simple black-box attack on scores (Guo, Gardner, You, Wilson & Weinberger, ICML 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import LOSSES, LossName
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count, require_fraction_of_eps, require_one_of
from bench.attacks.witness import all_broken
from bench.core.threat import LINF_L2, Budget, Norm

Directions = Literal["pixel", "dct"]


@dataclass(frozen=True)
class SimBA(Attack):
    """Take orthogonal directions in random order; step back or forth along each, if that raises the loss.

    Every image has its own order and pace: who gains by the step back need not ask about the step forth.
    Steps are projected to the budget, which the paper leaves open; after the last direction comes the first.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "scores"

    queries: int = 5000  # per example, with the one for the clean image
    directions: Directions = "pixel"  # dct: waves across a channel
    frequencies: float = 0.5  # the share of waves taken, lowest first, along each side (dct only)
    step_size: Fraction | None = None  # of eps, in the budget's norm; None: 1 for pixels under Linf, else 1/5
    loss: LossName = "cross_entropy"  # rises as the probability of the class, which the paper follows, falls

    def __post_init__(self) -> None:
        require_count("SimBA", "queries", self.queries)
        require_one_of("SimBA", "directions", self.directions, get_args(Directions))
        require_between("SimBA", "frequencies", self.frequencies, 0, 1)
        if self.step_size is not None:
            require_fraction_of_eps("SimBA", "step_size", self.step_size)
        require_one_of("SimBA", "loss", self.loss, LOSSES)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W] of the highest loss found; at most `queries` forwards each."""
        require_norm(self, budget)
        project = geometry.projector(x, budget)
        basis, length = self._basis(x, budget.norm), self._length(budget)
        order = torch.rand(len(x), basis.count, generator=generator, device=x.device).argsort(1)
        turn, forth = torch.zeros_like(y), torch.zeros_like(y, dtype=torch.bool)
        best_x, best = x, LOSSES[self.loss](oracle.logits(x), y)
        for asked in range(1, self.queries):
            if all_broken(oracle, asked):
                break
            move = length * basis.direction(order.gather(1, (turn % basis.count)[:, None]).squeeze(1))
            back, ahead = project(best_x - move), project(best_x + move)
            # a step that ball and box take back would be a query for nothing: take the other
            forth = forth | (back == best_x).flatten(1).all(1)
            candidate = torch.where(_rows(forth), ahead, back)
            found = LOSSES[self.loss](oracle.logits(candidate), y)
            better = found > best
            best_x = torch.where(_rows(better), candidate, best_x)
            best = torch.where(better, found, best)
            done = better | forth
            turn, forth = turn + done, ~done
        return oracle.witnesses(best_x)  # what breaks an example is kept, whatever its loss

    def _length(self, budget: Budget) -> float:
        """Of a step, in pixel units: under Linf a pixel goes to its end at once, waves add up."""
        whole = self.directions == "pixel" and budget.norm is Norm.LINF
        step_size = self.step_size or Fraction(1, 1 if whole else 5)
        return float(step_size) * budget.radius

    def _basis(self, x: Tensor, norm: Norm) -> _Basis:
        channels, height, width = x.shape[1:]
        if self.directions == "pixel":
            return _Basis(*(torch.eye(size, device=x.device) for size in (channels, height, width)))
        rows, columns = (
            _waves(side, max(round(self.frequencies * side), 1), norm).to(x.device)
            for side in (height, width)
        )
        return _Basis(torch.eye(channels, device=x.device), rows, columns)


@dataclass(frozen=True)
class _Basis:
    """Images that are products of a channel, a column and a row; each of length 1 in the budget's norm."""

    channels: Tensor  # [C, C]
    rows: Tensor  # [h, H]
    columns: Tensor  # [w, W]

    @property
    def count(self) -> int:
        return len(self.channels) * len(self.rows) * len(self.columns)

    def direction(self, number: Tensor) -> Tensor:
        """[n, C, H, W] for numbers [n]."""
        across = len(self.columns)
        channel, place = number // (len(self.rows) * across), number % (len(self.rows) * across)
        plane = self.rows[place // across][:, :, None] * self.columns[place % across][:, None, :]
        return self.channels[channel][:, :, None, None] * plane[:, None]


def _waves(side: int, count: int, norm: Norm) -> Tensor:
    """The lowest frequencies of the discrete cosine transform (type II) as rows [count, side]."""
    frequency, pixel = torch.arange(count)[:, None], torch.arange(side)
    waves = torch.cos(math.pi / side * (pixel + 0.5) * frequency)
    order = torch.inf if norm is Norm.LINF else 2
    length: Tensor = torch.linalg.vector_norm(waves, order, dim=1, keepdim=True)
    return waves / length


def _rows(mask: Tensor) -> Tensor:
    return mask[:, None, None, None]


SIMBA_DCT = SimBA(directions="dct")
"""SimBA along low-frequency waves (Guo et al., ICML 2019): fewer queries where images are large."""
