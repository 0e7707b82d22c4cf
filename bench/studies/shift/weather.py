"""Snow, fog and spatter as Hendrycks and Dietterich compute them, as far as that goes without photographs."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.studies.shift.blurs import drawn_out, magnified, scale_of, smoothed
from bench.studies.shift.draws import Draws

_LUMA = (0.299, 0.587, 0.114)
_MUD, _WATER = (63 / 255, 42 / 255, 20 / 255), (175 / 255, 238 / 255, 238 / 255)


def snow(
    x: Tensor,
    draws: Draws,
    mean: float,
    sd: float,
    size: float,
    least: float,
    reach: float,
    fade: float,
    kept: float,
) -> Tensor:
    """Flakes from thresholded noise, enlarged, drawn out downwards, and once more turned around; paler."""
    flakes = magnified(mean + sd * draws.normal((1, *x.shape[2:])), size)
    flakes = torch.where(flakes < least, 0.0, flakes).clamp(0, 1)
    flakes = drawn_out(flakes, draws.uniform((), -135, -45), reach, fade)
    pale = kept * x + (1 - kept) * torch.maximum(x, _gray(x) * 1.5 + 0.5)
    return pale + flakes + flakes.rot90(2, (2, 3))


def fog(x: Tensor, draws: Draws, amount: float, decay: float) -> Tensor:
    """A plasma fractal added, and the brightest pixel of each image kept as bright as it was."""
    height, width = x.shape[2:]
    brightest = x.amax((1, 2, 3), keepdim=True)
    cloud = plasma(draws, max(height, width), decay)[:, None, :height, :width]
    return (x + amount * cloud) * brightest / (brightest + amount)


def spatter(
    x: Tensor, draws: Draws, mean: float, sd: float, soft: float, least: float, strength: float, mud: float
) -> Tensor:
    """Drops from thresholded noise: pale water added, or brown mud in the image's place; gray on gray.

    The water has no edges that catch the light, which the authors draw by OpenCV's filters.
    """
    scale = scale_of(x)
    liquid = smoothed(mean + sd * draws.normal((1, *x.shape[2:])), soft * scale, "replicate")
    colour = x.new_tensor(_MUD if mud else _WATER)[None, :, None, None]
    colour = colour if x.shape[1] == 3 else _gray(colour)
    if not mud:
        wet = torch.where(liquid < least, 0.0, liquid)
        return x + strength * colour * wet / wet.amax((2, 3), keepdim=True).clamp(min=least)
    dirty = smoothed((liquid > least).to(x.dtype), strength * scale, "replicate")
    dirty = torch.where(dirty < 0.8, 0.0, dirty)
    return x * (1 - dirty) + colour * dirty


def plasma(draws: Draws, side: int, decay: float) -> Tensor:
    """Clouds [n, S, S] from 0 to 1 by diamonds and squares, on a torus; S: a power of 2, at least `side`.

    A new point is the mean of its four neighbours and noise, whose range falls by `decay` each time that
    points come twice as close.
    """
    size = 1 << max(1, (side - 1).bit_length())
    noise = draws.uniform((3, size, size), -1, 1)  # for middles, and for the two kinds of edges
    cloud = torch.zeros_like(noise[:, 0])
    step, spread = size, 100.0
    while step >= 2:
        half, wild = step // 2, spread * spread
        corner = cloud[:, ::step, ::step]
        square = corner + corner.roll(-1, 1)
        middle = (square + square.roll(-1, 2)) / 4 + wild * noise[:, 0, half::step, half::step]
        cloud[:, half::step, half::step] = middle
        above = (middle + middle.roll(1, 1) + corner + corner.roll(-1, 2)) / 4
        cloud[:, ::step, half::step] = above + wild * noise[:, 1, ::step, half::step]
        left = (middle + middle.roll(1, 2) + corner + corner.roll(-1, 1)) / 4
        cloud[:, half::step, ::step] = left + wild * noise[:, 2, half::step, ::step]
        step, spread = half, spread / decay
    low, high = cloud.amin((1, 2), keepdim=True), cloud.amax((1, 2), keepdim=True)
    return (cloud - low) / (high - low).clamp(min=1e-12)


def _gray(x: Tensor) -> Tensor:
    """The luminance [n, 1, H, W] of images of three channels; of one, the image."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
