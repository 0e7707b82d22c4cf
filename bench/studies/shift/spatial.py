"""Rotations and translations: the worst of a grid, and what random ones do (Engstrom et al., ICML 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.outcomes import REFUSED
from bench.core.seeds import seed_for
from bench.evaluate.referee import Referee
from bench.studies.shift.blurs import sampled
from bench.studies.shift.draws import Draws


@dataclass(frozen=True)
class Grid:
    """Rotations within so many degrees by translations within a share of the side; what moves in is black.

    The paper's: 31 angles to 30 degrees, 5 x 5 translations to 3 pixels of 28 or 32, a tenth of the side.
    """

    angles: int = 31
    degrees: float = 30.0
    shifts: int = 5  # in each direction
    share: float = 0.1  # of the side, rounded to whole pixels at the farthest
    draws: int = 10  # random poses for each example, besides the whole grid

    def poses(self, side: int) -> Tensor:
        """[p, 3]: degrees, pixels to the right, pixels down; far ones first, for they fool most."""
        farthest = self.farthest(side)
        angles = torch.linspace(-self.degrees, self.degrees, self.angles, dtype=torch.float64)
        shifts = torch.linspace(-farthest, farthest, self.shifts, dtype=torch.float64)
        poses = torch.cartesian_prod(angles, shifts, shifts)
        far = poses[:, 0].abs() / self.degrees + poses[:, 1:].abs().sum(1) / farthest
        return poses[far.argsort(descending=True, stable=True)]

    def farthest(self, side: int) -> int:
        """The longest translation, in pixels."""
        return max(1, round(self.share * side))


def moved(x: Tensor, poses: Tensor) -> Tensor:
    """Images [n, C, H, W] turned counter-clockwise about their middle, then shifted; poses [n, 3]."""
    height, width = x.shape[2:]
    angle = (poses[:, 0] * math.pi / 180).to(x)[:, None, None]
    right, down = (poses[:, axis].to(x)[:, None, None] for axis in (1, 2))
    rows = torch.arange(height, dtype=x.dtype, device=x.device)[None, :, None] - (height - 1) / 2 - down
    columns = torch.arange(width, dtype=x.dtype, device=x.device)[None, None] - (width - 1) / 2 - right
    from_column = angle.cos() * columns - angle.sin() * rows + (width - 1) / 2
    from_row = angle.sin() * columns + angle.cos() * rows + (height - 1) / 2
    return sampled(x, torch.stack([from_column, from_row], -1), "zeros")


def in_random_pose(grid: Grid, x: Tensor, ids: Sequence[int], seed: int, draw: int) -> Tensor:
    """Each image [n, C, H, W] in a pose of its own from the grid, by seed, draw and example."""
    poses = grid.poses(min(x.shape[2:]))
    draws = Draws([seed_for(seed, "pose", draw, int(i)) for i in ids], torch.device("cpu"))
    return moved(x, poses[draws.integers((), 0, len(poses))].to(x.device))


def in_worst_pose(
    referee: Referee, grid: Grid, x: Tensor, y: Tensor, known: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """The first wrong class [n] over the whole grid, else the first known one; and the images shown [n].

    `known` are classes [n] in poses already seen; whom one of them fooled is not shown any more. No gradient
    is asked for, and to be refused is not to be fooled.
    """
    worst, shown = first_wrong(known, y), torch.zeros_like(y)
    for pose in grid.poses(min(x.shape[2:])).to(x.device):
        left = (~_fooled(worst, y)).nonzero().squeeze(1)
        if len(left) == 0:
            break
        classes = referee.classify(moved(x[left], pose.expand(len(left), -1)))
        shown[left] += 1
        worst = worst.index_copy(0, left, torch.where(_fooled(classes, y[left]), classes, worst[left]))
    return worst, shown


def in_surest_pose(
    referee: Referee, grid: Grid, x: Tensor, y: Tensor, known: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Each image [n, C, H, W] in the pose that fools most draws of a randomized defense; and those shown [n].

    Among hundreds of votes one is lost by luck, so votes choose the pose here and do not decide. An image of
    which no vote is lost, or that a known pose fooled, stays as it is.
    """
    poses, side = torch.zeros(len(x), 3, dtype=torch.float64, device=x.device), min(x.shape[2:])
    agreed, shown = x.new_zeros(len(x)), torch.zeros_like(y)
    done = _fooled(first_wrong(known, y), y)
    for pose in grid.poses(side).to(x.device):
        left = (~done).nonzero().squeeze(1)
        if len(left) == 0:
            break
        images = moved(x[left], pose.expand(len(left), -1)).clamp(0, 1)
        verdict = referee.judge(images, images)
        surer = _fooled(verdict.classes, y[left]) & (verdict.agreed > agreed[left])
        poses[left[surer]], agreed[left[surer]] = pose, verdict.agreed[surer]
        shown[left] += 1
        done = done | (agreed == 1)
    return torch.where((agreed > 0)[:, None, None, None], moved(x, poses), x), shown


def first_wrong(known: Sequence[Tensor], y: Tensor) -> Tensor:
    """The first class [n] that is wrong and no refusal among some, else the first of them."""
    worst = known[0]
    for classes in known[1:]:
        worst = torch.where(_fooled(worst, y) | ~_fooled(classes, y), worst, classes)
    return worst


def _fooled(classes: Tensor, y: Tensor) -> Tensor:
    return (classes != y) & (classes != REFUSED)
