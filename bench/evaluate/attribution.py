"""Whose images other people's attacks ask about: their code cuts batches as it likes and never says.

An image may be of every example whose clean image it is within the radius of, in the budget's norm. Where
that is one, it is that one's. Where it is several, or none because the attack went beyond the radius, the
choice is a guess and is told as one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.attacks.geometry import distance, project
from bench.core.threat import Budget, Norm
from bench.evaluate.referee import TOLERANCE

SAMPLED = 48
"""Values of an image that tell most images apart under Linf."""

PAIRS = 4096
"""Of images, whose distances are computed at once."""

APART = 2.0
"""An image beyond the radius is surely of the nearest example if all others are so many times farther."""

BLUR = 0.01
"""How wrong distances by matrix products may be, as a share of the images' length: float32 cancels."""


class Attribution:
    """Which of n clean images each of some changed ones was made from.

    Batches in a row mostly belong to the same examples, so that is tried first: it is sure where the images
    are within the radius of those, and nobody else's clean image is within twice the radius of those.
    """

    def __init__(self, clean: Tensor, budget: Budget) -> None:
        self._clean, self._budget = clean, budget
        self._reach = budget.radius + _rounding(clean, budget.norm)
        self._blur = BLUR * float(clean.flatten(1).norm(dim=1).max()) if len(clean) else 0.0
        near = self._within(clean, 2 * self._reach, self._far(clean))
        self._crowded = near.sum(1) > 1  # [n]: an image within the radius may be another's as well
        self._some_crowded = bool(self._crowded.any())
        self._last, self._own = torch.arange(len(clean), device=clean.device), clean
        self._asked = clean  # the last images, where some are crowded
        self.shared = torch.zeros_like(self._crowded)  # [n]: some such image was asked about

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows [m] of images x [m, C, H, W], and which of them [m] are guesses; None: all are sure.

        The rows are the same object as long as they stay the same.
        """
        guessed = None
        opened = self._unsettled(x)
        if len(opened) or len(x) != len(self._last):
            rows, guessed = self._chosen(x, opened)
            if not torch.equal(rows, self._last):
                self._last, self._own = rows, self._clean[rows]
        if self._some_crowded:
            self._asked = x.clone()
        return self._last, guessed

    def inside(self, x: Tensor, rows: Tensor) -> Tensor:
        """[m] bool: within budget and box around the clean images of these rows."""
        clean, budget = self._clean[rows], self._budget
        if budget.norm is not Norm.LINF:  # thousands of roundings add up: each value may have its own
            nearest = project(x.nan_to_num(), clean, budget)
            return (nearest - x).abs().flatten(1).amax(1) <= TOLERANCE
        near = distance(x, clean, budget.norm) <= budget.radius + TOLERANCE
        flat = x.flatten(1)
        return near & (flat.amin(1) >= -TOLERANCE) & (flat.amax(1) <= 1 + TOLERANCE)

    def _unsettled(self, x: Tensor) -> Tensor:
        """Positions of images that are not surely of the examples of last time."""
        if len(x) != len(self._last):
            return torch.arange(len(x), device=x.device)
        settled = self._length(x, self._own) <= self._reach
        if self._some_crowded:
            settled &= ~self._crowded[self._last]
        return (~settled).nonzero().squeeze(1)

    def _chosen(self, x: Tensor, opened: Tensor) -> tuple[Tensor, Tensor | None]:
        """Everyone's rows, looked for at these positions only, and which are guesses."""
        asked = x[opened].nan_to_num()
        far = self._far(asked)
        possible = self._within(asked, self._reach, far)
        many = possible.sum(1)
        far = far.masked_fill(~possible & (many > 0)[:, None], torch.inf)
        nearest = far.topk(min(2, far.shape[1]), dim=1, largest=False)
        rows, first = nearest.indices[:, 0], nearest.values[:, :1]
        rivalled = (nearest.values[:, 1:] < APART * first).any(1)
        guessed = (many > 1) | ((many == 0) & rivalled)
        if len(x) == len(self._last):
            if self._some_crowded:
                stays = (many > 1) & self._stay(asked, opened, possible, first)
                rows = torch.where(stays, self._last[opened], rows)
            rows = self._last.index_copy(0, opened, rows)
        self.shared[rows[opened[many > 1]]] = True
        if not bool(guessed.any()):
            return rows, None
        return rows, guessed.new_zeros(len(x)).index_copy_(0, opened, guessed)

    def _stay(self, asked: Tensor, opened: Tensor, possible: Tensor, first: Tensor) -> Tensor:
        """[m] bool: may be of the example of last time, and nearer to its image than to any clean one."""
        moved = (asked - self._asked[opened]).flatten(1).norm(dim=1, keepdim=True)
        stays: Tensor = possible.gather(1, self._last[opened, None]) & (moved <= first)
        return stays.squeeze(1)

    def _within(self, x: Tensor, length: float, far: Tensor) -> Tensor:
        """[m, n] bool: which clean images are at most so far from each image, in the budget's norm.

        Cheap distances that are never longer come first, and what they leave is measured.
        """
        if self._budget.norm is Norm.LINF:
            stride = max(1, x[0].numel() // SAMPLED) if len(x) else 1
            some, others = (images.flatten(1)[:, ::stride] for images in (x, self._clean))
            near = torch.cdist(some, others, p=torch.inf) <= length
        else:  # no value in the box differs by more than 1, so L1 and L0 are at least the square under L2
            near = far <= self._blur + (length if self._budget.norm is Norm.L2 else min(length, length**0.5))
        for i, k in (pairs.T for pairs in torch.split(near.nonzero(), PAIRS)):
            near[i, k] = self._length(x[i], self._clean[k]) <= length
        return near

    def _far(self, x: Tensor) -> Tensor:
        """[m, n], under L2 and but nearly: from each image to each clean one."""
        return torch.cdist(x.flatten(1), self._clean.flatten(1))

    def _length(self, x: Tensor, clean: Tensor) -> Tensor:
        """[m], in the budget's norm; under L0 a value that was rounded is the same value."""
        if self._budget.norm is Norm.L0:
            return ((x - clean).abs() > TOLERANCE).flatten(1).sum(1)
        return distance(x, clean, self._budget.norm)


def _rounding(clean: Tensor, norm: Norm) -> float:
    """How far rounding by `TOLERANCE` of every value carries an image."""
    values = clean[0].numel() if len(clean) else 1
    share = {Norm.LINF: 1.0, Norm.L2: math.sqrt(values), Norm.L1: float(values), Norm.L0: 0.0}
    return TOLERANCE * share[norm]
