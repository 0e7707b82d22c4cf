"""Square Attack: random search on scores (Andriushchenko, Croce, Flammarion & Hein, ECCV 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.losses import margin
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count
from bench.core.threat import LINF_L2, Budget, Norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which of 10,000 queries the share of changed pixels is halved (section 3 of the paper)."""

Search = Callable[[Tensor, float], Tensor]
"""(best images so far [n, C, H, W], share of pixels to change) -> the next candidates"""


@dataclass(frozen=True)
class Square(Attack):
    """Change one square of each image at a time and keep what raises its margin.

    Every image has its own squares and signs. Stops when all examples are broken.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "scores"

    queries: int = 5000  # per example, with the one for the first candidate
    p_init: float = 0.8  # the share of pixels changed at first

    def __post_init__(self) -> None:
        require_count("Square", "queries", self.queries)
        require_between("Square", "p_init", self.p_init, 0, 1)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W] of the highest margin found; at most `queries` forwards each."""
        require_norm(self, budget)
        best_x = _stripes(x, budget, generator)
        best = margin(oracle.logits(best_x), y)
        return search_from(
            oracle, best_x, best, x, y, budget, generator, queries=self.queries, share=self.p_init, asked=1
        )


def search_from(
    oracle: Oracle,
    start: Tensor,
    best: Tensor,
    x: Tensor,
    y: Tensor,
    budget: Budget,
    generator: Generator,
    *,
    queries: int,
    share: float,
    asked: int = 0,
) -> Tensor:
    """Change squares of images `start` [n, C, H, W] of margin `best` [n]; the images of highest margin found.

    The share of changed pixels falls from `share` by the paper's schedule, stretched to `queries` of which
    `asked` are spent.
    """
    search = {Norm.LINF: _linf_search, Norm.L2: _l2_search}[budget.norm](x, budget, generator)
    best_x = start
    for query in range(asked, queries):
        if query % 16 == asked and bool(oracle.broken().all()):  # now and then: the host waits to know it
            break
        candidate = search(best_x, share_after(query, queries, share))
        found = margin(oracle.logits(candidate), y)
        better = found > best
        best = torch.where(better, found, best)
        best_x = torch.where(better[:, None, None, None], candidate, best_x)
    return best_x


def share_after(query: int, queries: int, share: float) -> float:
    """The share of pixels to change in a query of so many: the paper's schedule, stretched."""
    passed = query * 10_000 // queries
    return share / float(2 ** sum(passed > halving for halving in HALVINGS))


def _stripes(x: Tensor, budget: Budget, generator: Generator) -> Tensor:
    """What the search begins with: vertical stripes of -eps or eps (Linf), or a grid of bumps (L2)."""
    if budget.norm is Norm.L2:
        return geometry.project(x + budget.radius * _bumps_everywhere(x, generator), x, budget)
    n, channels, _, width = x.shape
    up = _coins((n, channels, 1, width), generator, x.device)
    return torch.where(up, (x + budget.radius).clamp_(max=1), (x - budget.radius).clamp_(min=0))


def _linf_search(x: Tensor, budget: Budget, generator: Generator) -> Search:
    """Squares of -eps or eps, of one sign in each channel."""
    n, channels, height, width = x.shape
    low, high = (x - budget.radius).clamp_(min=0), (x + budget.radius).clamp_(max=1)

    def corners(up: Tensor) -> Tensor:
        return torch.where(up, high, low)

    def search(best_x: Tensor, share: float) -> Tensor:
        side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
        square = _squares(n, height, width, side, generator, x.device)
        up = _coins((n, channels, 1, 1), generator, x.device)
        candidate = torch.where(square, corners(up), best_x)
        # a square that holds these values already would be a query for nothing: take the other signs
        same = (candidate == best_x).flatten(1).all(dim=1)[:, None, None, None]
        return torch.where(square, corners(up ^ same), best_x)

    return search


def _l2_search(x: Tensor, budget: Budget, generator: Generator) -> Search:
    """The mass of one square, and what is unspent, goes to another."""
    n, channels, height, width = x.shape
    device, radius = x.device, budget.radius
    images = torch.arange(n, device=device)[:, None, None, None]
    planes = torch.arange(channels, device=device)[None, :, None, None]

    def search(best_x: Tensor, share: float) -> Tensor:
        side = _odd_side(round(math.sqrt(share * height * width)), min(height, width))
        delta = best_x - x
        rows, columns = _corners(n, height, width, side, generator, device)
        given = _mask(rows, columns, side, height, width)
        taken = _squares(n, height, width, side, generator, device)
        span = torch.arange(side, device=device)
        at = (
            images,
            planes,
            (rows[:, None] + span)[:, None, :, None],
            (columns[:, None] + span)[:, None, None],
        )
        signs = _signs((n, channels, 1, 1), generator, device)
        upright = _coins((n, 1, 1, 1), generator, device)
        bump = _bump(side, device)
        unspent = (radius**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp_(min=0)
        mass = (delta.square() * (given | taken)).sum((2, 3), keepdim=True)
        new = _plane_unit(delta[at]) + signs * torch.where(upright, bump, bump.T)
        moved = delta.masked_fill(taken, 0)
        moved[at] = _plane_unit(new) * (mass + unspent / channels).sqrt()
        return geometry.project(x + moved, x, budget)

    return search


def _bumps_everywhere(x: Tensor, generator: Generator) -> Tensor:
    """A 5 by 5 grid of bumps with random signs, as a direction of length 1 for each image."""
    n, channels, height, width = x.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    signs = _signs((n, channels, down, 1, across, 1), generator, x.device)
    tiles = (signs * _bump(side, x.device)[None, None, None, :, None, :]).reshape(
        n, channels, down * side, across * side
    )
    grid = torch.zeros_like(x)
    grid[:, :, : down * side, : across * side] = tiles
    return geometry.steepest_direction(grid, Norm.L2)


@cache
def _bump(side: int, device: torch.device) -> Tensor:
    """Two halves of opposite sign, each highest in its middle; [side, side], of length 1."""
    half = side // 2
    both = torch.cat([_rings(half, side), -_rings(side - half, side)])
    unit: Tensor = both / both.norm()
    return unit.to(device)


def _rings(height: int, width: int) -> Tensor:
    """Concentric rectangles that rise inwards: the eta of the paper's equation 2; [height, width]."""
    n = max(height, width) // 2
    from_middle = torch.maximum(
        (torch.arange(height) - height // 2).abs()[:, None], (torch.arange(width) - width // 2).abs()[None]
    )
    terms = 1 / (n + 1 - torch.arange(n + 1, dtype=torch.float32)).square()
    return terms.cumsum(0)[(n - from_middle).clamp(min=0)]


def _odd_side(side: int, limit: int) -> int:
    """The nearest odd side from below the limit; bumps need a middle, so at least 3 where that fits."""
    side = min(max(side, 3), limit)
    return side if side % 2 == 1 else min(side + 1, limit - 1 + limit % 2)


def _plane_unit(delta: Tensor) -> Tensor:
    """Each channel of each image at length 1; zero stays zero."""
    length: Tensor = torch.linalg.vector_norm(delta, dim=(2, 3), keepdim=True)
    return delta / length.clamp_(min=geometry.TINY)


def _squares(
    n: int, height: int, width: int, side: int, generator: Generator, device: torch.device
) -> Tensor:
    """One random square for each image, as a mask [n, 1, H, W]."""
    rows, columns = _corners(n, height, width, side, generator, device)
    return _mask(rows, columns, side, height, width)


def _corners(
    n: int, height: int, width: int, side: int, generator: Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The top rows and left columns [n] of squares that fit into the image."""
    rows = torch.randint(0, height - side + 1, (n,), generator=generator, device=device)
    return rows, torch.randint(0, width - side + 1, (n,), generator=generator, device=device)


def _mask(rows: Tensor, columns: Tensor, side: int, height: int, width: int) -> Tensor:
    down, across = _spans(height, side, rows.device)[rows], _spans(width, side, rows.device)[columns]
    return down[:, None, :, None] & across[:, None, None, :]


@cache
def _spans(length: int, side: int, device: torch.device) -> Tensor:
    """Which of `length` places a span of `side` covers, for each place where it may begin."""
    place, start = torch.arange(length, device=device), torch.arange(length - side + 1, device=device)
    return (place >= start[:, None]) & (place < start[:, None] + side)


def _coins(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator, device=device).bool()


def _signs(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator, device=device).mul_(2).sub_(1).float()
