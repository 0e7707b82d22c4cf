"""RayS: search for the signs along which the boundary is nearest, from labels (Chen & Gu, KDD 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks.losses import fooled
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_count
from bench.attacks.witness import all_broken, or_else
from bench.core.threat import LINF_L2, Budget, Norm
from bench.errors import BadValue


@dataclass(frozen=True)
class RayS(Attack):
    """Flip a block of signs at a time and keep what brings the boundary nearer; blocks halve level by level.

    Every image has its own blocks and searches: each asks one question at a time, whatever the others ask.
    Draws nothing. Made for Linf: rays end at corners of cubes, which under L2 are projected to the ball.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "labels"

    queries: int = 5000  # per example
    tolerance: float = 0.001  # at which a binary search along a ray ends, in pixel units

    def __post_init__(self) -> None:
        require_count("RayS", "queries", self.queries)
        if not self.tolerance > 0:
            raise BadValue(
                f"RayS.tolerance is {self.tolerance}, expected a distance above 0", "tolerance=0.001"
            )

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]: the nearest mistakes found, projected to the budget."""
        require_norm(self, budget)
        search = _Search(x, self.tolerance)
        for asked in range(self.queries):
            if all_broken(oracle, asked):
                break
            search.learn(fooled(oracle.labels(search.question()), y))
        return or_else(oracle, search.nearest(), x, budget)


class _Search:
    """Where the search of each of n examples is; it asks one question a round, and learns from the answer.

    First whether a changed ray is wrong already at the radius of the best one; if so, by halving, where on it
    the boundary is.
    """

    def __init__(self, x: Tensor, tolerance: float) -> None:
        n, device = len(x), x.device
        self._x, self._tolerance = x, tolerance
        self._pixels = torch.arange(x[0].numel(), device=device)
        self._signs = torch.ones(n, len(self._pixels), device=device, dtype=x.dtype)
        self._radius = torch.ones(
            n, device=device, dtype=x.dtype
        )  # of the best ray; at 1 all rays have left the box
        self._level = torch.zeros(
            n, dtype=torch.int64, device=device
        )  # of blocks of 1 / 2 ** level of all pixels
        self._block = torch.zeros(n, dtype=torch.int64, device=device)
        self._halving = torch.zeros(n, dtype=torch.bool, device=device)
        self._low, self._high = torch.zeros_like(self._radius), self._radius
        self._trial, self._at = self._signs, self._radius

    def question(self) -> Tensor:
        """The images [n, C, H, W] to ask about now."""
        inside = self._pixels // self._length()[:, None] == self._block[:, None]
        self._trial = torch.where(inside, -self._signs, self._signs)
        self._at = torch.where(self._halving, (self._low + self._high) / 2, self._radius)
        return self._end(self._trial, self._at)

    def learn(self, wrong: Tensor) -> None:
        """Whether the classes [n] of these images were wrong."""
        starts = ~self._halving & wrong
        self._high = torch.where(starts | (self._halving & wrong), self._at, self._high)
        self._low = torch.where(self._halving & ~wrong, self._at, self._low).masked_fill_(starts, 0)
        found = (self._halving | starts) & (self._high - self._low <= self._tolerance)
        self._signs = torch.where(found[:, None], self._trial, self._signs)
        self._radius = torch.where(found, self._high, self._radius)
        done = found | (~self._halving & ~wrong)
        self._halving = (self._halving | starts) & ~found
        self._advance(done)

    def nearest(self) -> Tensor:
        """The best ray's end; where a search is under way, what it has reached."""
        signs = torch.where(self._halving[:, None], self._trial, self._signs)
        return self._end(signs, torch.where(self._halving, self._high, self._radius))

    def _advance(self, done: Tensor) -> None:
        """To the next block, or to the first of the next level; single pixels are gone through again."""
        last = (self._block + 1) * self._length() >= len(self._pixels)
        finest = (len(self._pixels) - 1).bit_length()
        self._level = torch.where(done & last, (self._level + 1).clamp_(max=finest), self._level)
        self._block = torch.where(done, torch.where(last, 0, self._block + 1), self._block)

    def _length(self) -> Tensor:
        """Of each example's blocks [n]: the share of its level, rounded up."""
        return -(-len(self._pixels) // 2**self._level)

    def _end(self, signs: Tensor, radius: Tensor) -> Tensor:
        """The images at this distance along rays [n, D], clipped to the box."""
        return torch.addcmul(self._x.flatten(1), signs, radius[:, None]).clamp_(0, 1).view_as(self._x)
