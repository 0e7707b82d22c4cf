"""Poses against torch's own turns and rolls, and the search against every pose of the grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import Deployed
from bench.core.threat import Budget, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.referee import Referee
from bench.studies.shift.spatial import Grid, in_random_pose, in_worst_pose, moved


@pytest.fixture(scope="module")
def x():
    return torch.rand(6, 3, 11, 11, generator=torch.Generator().manual_seed(0))


def pose(*values: float, n: int = 6) -> Tensor:
    return torch.tensor([values], dtype=torch.float64).expand(n, -1)


def test_no_turn_and_no_shift_is_the_identity(x):
    assert torch.allclose(moved(x, pose(0, 0, 0)), x, atol=1e-5)
    wide = x[:, :, :, :7]
    assert torch.allclose(moved(wide, pose(0, 0, 0)), wide, atol=1e-5)


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_quarter_turns_are_torchs(x, quarters):
    even = x[:, :, :10, :10]
    for images in (x, even):
        known = torch.rot90(images, quarters, (2, 3))
        assert torch.allclose(moved(images, pose(90 * quarters, 0, 0)), known, atol=1e-4)


def test_whole_shifts_move_pixels_and_black_moves_in(x):
    right = moved(x, pose(0, 2, 0))
    assert (
        torch.allclose(right[:, :, :, 2:], x[:, :, :, :-2], atol=1e-5)
        and right[:, :, :, :2].abs().max() < 1e-5
    )
    down = moved(x, pose(0, 0, 3))
    assert torch.allclose(down[:, :, 3:], x[:, :, :-3], atol=1e-5) and down[:, :, :3].abs().max() < 1e-5


def test_a_wide_image_is_not_sheared():
    """A disk in the middle stays where and what it is, however it is turned."""
    rows, columns = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(65.0) - 32, indexing="ij")
    disk = torch.sigmoid(8 - (rows**2 + columns**2).sqrt())[None, None]
    assert torch.allclose(moved(disk, pose(30, 0, 0, n=1)), disk, atol=0.02)


def test_the_grid_is_the_papers():
    poses = Grid().poses(32)
    assert poses.shape == (775, 3) and len({tuple(row) for row in poses.tolist()}) == 775
    assert poses.abs().amax(0).tolist() == [30, 3, 3] and Grid().farthest(28) == 3 and Grid().farthest(8) == 1
    assert sorted(set(poses[:, 1].tolist())) == [-3, -1.5, 0, 1.5, 3] and [0, 0, 0] in poses.tolist()


class Corner(nn.Module):
    """Class 1 where the upper left quarter is brighter than the lower right one."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[2] // 2
        gap = x[:, :, :half, :half].mean((1, 2, 3)) - x[:, :, -half:, -half:].mean((1, 2, 3))
        return torch.stack([-gap, gap], 1)


def referee(**more):
    return Referee(Deployed(Corner(), **more), Budget(Norm.LINF, 0), Batches(64))


def test_the_search_finds_what_every_pose_together_finds(x):
    images = torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    images[::2, :, :6, :6] += 1
    grid, judge = Grid(angles=5, shifts=3), referee()
    y = judge.classify(images)
    all_of_them = torch.stack([judge.classify(moved(images, p.expand(40, -1))) for p in grid.poses(12)])
    fooled = (all_of_them != y).any(0)
    worst, shown = in_worst_pose(judge, grid, images, y, [y])
    assert torch.equal(worst != y, fooled) and 5 < int(fooled.sum()) < 40
    assert (shown[~fooled] == 45).all() and shown[fooled].max() <= 45
    known = all_of_them[:20]
    again, fewer = in_worst_pose(judge, grid, images, y, [y, *known])
    assert torch.equal(again != y, fooled) and (fewer[(known != y).any(0)] == 0).all(), "not shown again"


def test_who_is_refused_is_not_fooled(x):
    images = torch.rand(10, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    shy = referee(detector=lambda images: torch.ones(len(images), dtype=torch.bool))
    y = referee().classify(images)
    worst, shown = in_worst_pose(shy, Grid(angles=3, shifts=3), images, y, [y])
    assert torch.equal(worst, y) and (shown == 27).all()


def test_random_poses_are_each_examples_own():
    images = torch.rand(30, 1, 12, 12, generator=torch.Generator().manual_seed(2))
    grid = Grid()
    first = in_random_pose(grid, images, range(30), 0, 0)
    assert torch.equal(first[5:9], in_random_pose(grid, images[5:9], range(5, 9), 0, 0))
    others = [in_random_pose(grid, images, range(30), 0, draw) for draw in range(1, 6)]
    assert any(not torch.equal(first, other) for other in others)
