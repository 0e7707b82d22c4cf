"""FAB-T, the fast adaptive boundary attack towards chosen classes (Croce & Hein, ICML 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.combine import Attempt, attack_standing
from bench.attacks.losses import fooled, most_confusing, targeted_margin
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count
from bench.attacks.witness import or_else
from bench.core.threat import LINF_L2, Budget, Norm

SHORTEST = 1e-8
"""Below it a projection counts as this long: two of length zero must not be divided."""


@dataclass(frozen=True)
class FAB(Attack):
    """Step onto the linearised boundary, then back towards the image: a search for the nearest mistake.

    Works towards each of the likeliest wrong classes of the clean image, on what still stands; a step costs
    one gradient and one query more. It knows no radius: iterates may lie beyond the budget. Defaults are the
    paper's.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"
    minimal: ClassVar[bool] = True

    steps: int = 100
    targets: int = 9
    overshoot: float = 1.05  # eta: how much further than the boundary a step goes
    backward: float = 0.9  # beta: what is kept of the distance once the class is wrong
    bias: float = 0.1  # alpha_max: how much of a step may start from the clean image instead
    random_start: bool = False  # half a budget away; for restarts

    def __post_init__(self) -> None:
        require_count("FAB", "steps", self.steps)
        require_count("FAB", "targets", self.targets)
        require_between("FAB", "overshoot", self.overshoot, 1, 2)
        require_between("FAB", "backward", self.backward, 0, 1)
        require_between("FAB", "bias", self.bias, 0, 1)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]: of each example the nearest mistake found, projected to the budget."""
        require_norm(self, budget)
        clean = oracle.logits(x)

        def towards(rank: int) -> Attempt:
            target = most_confusing(clean, y, rank)
            start = self._start(x, budget, generator)

            def attempt(held: Oracle, rows: Tensor) -> Tensor:
                nearest = self.nearest(held, x[rows], y[rows], target[rows], start[rows], budget.norm)
                return or_else(held, nearest, x[rows], budget)

            return attempt

        ranks = range(1, min(self.targets, oracle.num_classes - 1) + 1)
        return attack_standing(oracle, x, y, [towards(rank) for rank in ranks])

    def nearest(
        self, oracle: Oracle, x: Tensor, y: Tensor, target: Tensor, start: Tensor, norm: Norm
    ) -> Tensor:
        """The nearest misclassified image met on the way [n, C, H, W], at any distance; else the last."""
        x_adv, closest = start, start
        best = x.new_full((len(x),), torch.inf)
        for _ in range(self.steps):
            climb = oracle.climb(targeted_margin, x_adv, y, target)
            x_adv = self._step(x_adv, x, climb.gradient, climb.loss, norm)
            wrong = fooled(oracle.labels(x_adv), y)
            length = geometry.distance(x_adv, x, norm)
            closer = wrong & (length < best)
            best = torch.where(closer, length, best)
            closest = torch.where(_rows(closer | best.isinf()), x_adv, closest)
            x_adv = torch.where(_rows(wrong), torch.lerp(x, x_adv, self.backward), x_adv)
        return closest

    def _step(self, x_adv: Tensor, x: Tensor, gradient: Tensor, margin: Tensor, norm: Norm) -> Tensor:
        """The mean of two projections onto {z: margin + gradient (z - x_adv) = 0}, of iterate and image."""
        normal = gradient.flatten(1)
        gap = -margin
        gap_clean = gap + (normal * (x_adv - x).flatten(1)).sum(1)
        moves = to_hyperplane(
            torch.cat([x_adv, x]).flatten(1), normal.repeat(2, 1), torch.cat([gap, gap_clean]), norm
        )
        order = torch.inf if norm is Norm.LINF else 2
        length = torch.linalg.vector_norm(moves, order, dim=1).clamp_(min=SHORTEST)
        here, clean = length.chunk(2)
        share = _rows((here / (here + clean)).clamp_(max=self.bias))
        move, move_clean = moves.view(2, *x.shape)
        return torch.lerp(x_adv + self.overshoot * move, x + self.overshoot * move_clean, share).clamp_(0, 1)

    def _start(self, x: Tensor, budget: Budget, generator: Generator) -> Tensor:
        if not self.random_start:
            return x
        return torch.lerp(x, geometry.random_start(x, budget, generator), 0.5)


def to_hyperplane(points: Tensor, normals: Tensor, gaps: Tensor, norm: Norm) -> Tensor:
    """The smallest moves d [m, D] with normal d = gap that keep points [m, D] in the box [0, 1].

    Where the box has no such point, the move to its corner that comes nearest.

    Pixel i moves min(t a_i, room_i) in the direction that helps, with a_i = 1 (Linf) or |w_i| (L2), and
    what they gain together is concave in t: the lower envelope of one line for each number of pixels whose
    room is used up. So the t sought is the largest of those at which the lines reach the gap.
    """
    toward = normals * gaps.sign()[:, None]
    weight = toward.abs()
    moves = weight > 0
    room = torch.where(toward > 0, 1 - points, points).mul_(moves)
    pace = moves.to(points.dtype) if norm is Norm.LINF else weight
    order = (room / pace).nan_to_num_(nan=0.0).argsort(1)  # pixels that cannot move have no room to use up
    gain = (weight * room).gather(1, order)
    slope = (weight * pace).gather(1, order)
    gained = gain.cumsum(1)
    left = slope.flip(1).cumsum(1).flip(1)
    rise = gaps.abs()[:, None]
    reached = ((rise - gained + gain) / left).masked_fill_(left <= 0, 0)
    t = reached.amax(1, keepdim=True)
    step = torch.where(gained[:, -1:] < rise, room, torch.minimum(t * pace, room))
    return step * toward.sign()


def _rows(values: Tensor) -> Tensor:
    return values[:, None, None, None]
