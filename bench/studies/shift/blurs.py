"""Corruptions that move light between pixels: blurs, and the elastic transform.

Constants are pixels of an image of 32, but for the elastic transform's, which are shares of a side.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.studies.shift.draws import Draws

SIDE = 32
"""The side of the images that the constants were chosen for."""


def scale_of(x: Tensor) -> float:
    """How much longer lengths are than in an image of 32 pixels; never shorter."""
    return max(1.0, min(x.shape[2:]) / SIDE)


def gaussian(x: Tensor, draws: Draws, sd: float) -> Tensor:
    """Convolved with a Gaussian; the border pixel repeats."""
    return smoothed(x, sd * scale_of(x))


def defocus(x: Tensor, draws: Draws, radius: float, soft: float) -> Tensor:
    """Convolved with a disk of whole pixels, softened by a 3 x 3 Gaussian."""
    scale = scale_of(x)
    reach, rim = math.floor(radius * scale) + 1, math.ceil(scale)
    span = torch.arange(-reach - rim, reach + rim + 1, dtype=x.dtype, device=x.device)
    disk = (span[:, None] ** 2 + span[None] ** 2 <= (radius * scale) ** 2).to(x.dtype)
    edge = _bell(soft * scale, rim, x)
    kernel = _blurred(disk[None, None] / disk.sum(), edge, "constant")
    size = kernel.shape[-1] // 2
    padded = _padded(x, size, "reflect")
    return F.conv2d(padded, kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])


def glass(x: Tensor, draws: Draws, sd: float, times: float) -> Tensor:
    """A Gaussian, pixels swapped with an upper or left neighbour or themselves, a Gaussian again.

    Swaps go from the lower right to the upper left, as often as `times` says, so that a pixel can travel.
    """
    n, _, height, width = x.shape
    reach = max(1, round(scale_of(x)))
    x = smoothed(x, sd * scale_of(x)).clone()
    rows = torch.arange(n, device=x.device)
    for _ in range(int(times)):
        moves = draws.integers((height, width, 2), -reach, reach)
        for down in range(height - reach, reach, -1):
            for across in range(width - reach, reach, -1):
                there = moves[:, down, across]
                other_row, other_column = down + there[:, 0], across + there[:, 1]
                held, other = x[:, :, down, across].clone(), x[rows, :, other_row, other_column]
                x[:, :, down, across] = other
                x[rows, :, other_row, other_column] = held
    return smoothed(x, sd * scale_of(x))


def motion(x: Tensor, draws: Draws, reach: float, sd: float) -> Tensor:
    """Drawn out along a line within 45 degrees of the horizontal, fading as a Gaussian."""
    angle = draws.uniform((), -45, 45)
    return drawn_out(x, angle, reach, sd)


def zoom(x: Tensor, draws: Draws, largest: float) -> Tensor:
    """The mean of the image and of its enlargements by 1.00, 1.01 and so on, up to about `largest`.

    NumPy's rounding is part of what was published: it ends at 1.06 and 1.11, but not at 1.16, 1.21 and 1.26.
    """
    enlarged = [magnified(x, factor) for factor in np.arange(1, largest, 0.01).tolist()]
    return torch.stack([x, *enlarged]).mean(0)


def elastic(x: Tensor, draws: Draws, strength: float, sd: float, shift: float) -> Tensor:
    """Three points moved by at most `shift`, which an affine map follows, and a smooth random field.

    All lengths are shares of the shorter side.
    """
    n, _, height, width = x.shape
    side = min(height, width)
    middle = torch.tensor([width // 2, height // 2], dtype=x.dtype, device=x.device)
    arm = side // 3
    corners = torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=x.dtype, device=x.device) * arm + middle
    moved = corners + draws.uniform((3, 2), -shift * side, shift * side)
    ones = torch.ones(n, 3, 1, dtype=x.dtype, device=x.device)
    back = torch.linalg.solve(torch.cat([moved, ones], 2), corners.expand(n, -1, -1))  # [n, 3, 2]
    places = _places(x)
    at = torch.cat([places.expand(n, -1, -1, -1), torch.ones_like(places[..., :1]).expand(n, -1, -1, -1)], -1)
    warped = sampled(x, torch.einsum("nhwk,nkc->nhwc", at, back), "reflection")
    if not strength:
        return warped
    field = draws.uniform((2, height, width), -1, 1)
    smooth = smoothed(field, sd * side, "symmetric", truncate=3.0) * strength * side
    return sampled(warped, places + smooth.permute(0, 2, 3, 1), "reflection")


def smoothed(x: Tensor, sd: float, border: str = "replicate", truncate: float = 4.0) -> Tensor:
    """Convolved with a Gaussian, cut off after so many standard deviations; border: see _padded."""
    reach = int(truncate * sd + 0.5)
    return _blurred(x, _bell(sd, reach, x), border) if reach else x


def drawn_out(x: Tensor, degrees: Tensor, reach: float, sd: float) -> Tensor:
    """Each image the mean of its shifts along its own direction [n], weighted by a half Gaussian."""
    scale = scale_of(x)
    count = 2 * math.ceil(reach * scale) + 1
    weights = torch.exp(-(torch.arange(count, device=x.device) ** 2) / (2 * (sd * scale) ** 2))
    weights = weights[weights > 1e-4]
    radians = degrees * math.pi / 180
    direction = torch.stack([radians.cos(), radians.sin()], -1)[:, None, None]
    places, total = _places(x), torch.zeros_like(x)
    for step, weight in enumerate((weights / weights.sum()).tolist()):
        total += weight * sampled(x, places + step * direction, "border")
    return total


def magnified(x: Tensor, factor: float) -> Tensor:
    """Enlarged, linearly between pixels, and cut to the same size: the authors' `clipped_zoom`.

    They cut whole pixels out of the middle and enlarge them to whole pixels. So the factor is met only
    nearly, and the middle moves by up to a pixel, which blurs more than the enlargement does.
    """
    rows, columns = (_enlarged(side, factor, x) for side in x.shape[2:])
    return sampled(x, torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None], "border")


def _enlarged(side: int, factor: float, x: Tensor) -> Tensor:
    """Where the pixels of an enlarged row lie in the row itself, [side]; the ends of what is cut out stay."""
    kept = math.ceil(side / factor)
    size = round(kept * factor)
    pixels = torch.arange(side, dtype=x.dtype, device=x.device) + (size - side) // 2
    return (side - kept) // 2 + pixels * ((kept - 1) / max(1, size - 1))


def sampled(x: Tensor, places: Tensor, border: str) -> Tensor:
    """The images [n, C, H, W] at places [n or 1, H, W, 2] (column, row) in pixels, linearly between them."""
    sides = x.new_tensor([x.shape[3], x.shape[2]])
    grid = ((2 * places + 1) / sides - 1).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=border, align_corners=False)


def _places(x: Tensor) -> Tensor:
    """The column and row of each pixel, [1, H, W, 2]."""
    rows, columns = (torch.arange(side, dtype=x.dtype, device=x.device) for side in x.shape[2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None]


def _bell(sd: float, reach: int, x: Tensor) -> Tensor:
    span = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-(span**2) / (2 * sd**2))
    return weights / weights.sum()


def _blurred(x: Tensor, weights: Tensor, border: str) -> Tensor:
    """Convolved with the same weights down and across."""
    reach, channels = len(weights) // 2, x.shape[1]
    padded = _padded(x, reach, border)
    down = F.conv2d(padded, weights[None, None, :, None].expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(down, weights[None, None, None].expand(channels, 1, 1, -1), groups=channels)


def _padded(x: Tensor, reach: int, border: str) -> Tensor:
    """Wider by `reach` on each side: constant, replicate, reflect (b|abc) or symmetric (a|abc), any width."""
    if border in ("constant", "replicate"):
        return F.pad(x, (reach,) * 4, mode=border)
    for axis in (2, 3):
        side = x.shape[axis]
        at = torch.arange(-reach, side + reach, device=x.device)
        period = 2 * side if border == "symmetric" else max(1, 2 * side - 2)
        at = at.remainder(period)
        x = x.index_select(axis, torch.minimum(at, period - 1 - at if border == "symmetric" else period - at))
    return x
