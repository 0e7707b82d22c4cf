"""Common corruptions at five severities, computed from the images (Hendrycks & Dietterich, ICLR 2019).

The constants are those with which the authors made CIFAR-10-C, for images of 32 pixels. Lengths grow with
larger images; smaller ones keep them, for a blur of a quarter of a pixel is none. What is computed is not
CIFAR-10-C: images stay in floating point, random numbers are our own, filters of other libraries are written
anew. Frost is left out, because it needs photographs. What is random depends on seed, corruption, severity
and example alone, and is drawn on the CPU, so that every device sees the same images.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.core.seeds import seed_for
from bench.errors import UnknownName
from bench.studies.shift import blurs, weather
from bench.studies.shift.draws import Draws

SEVERITIES = (1, 2, 3, 4, 5)

Corrupt = Callable[..., Tensor]
"""(images [n, C, H, W] in [0, 1], draws, *constants) -> images of the same shape, not yet clipped"""


@dataclass(frozen=True)
class Corruption:
    """One kind of damage and the constants of its five severities."""

    name: str
    group: str  # noise, blur, weather, digital
    corrupt: Corrupt
    constants: tuple[tuple[float, ...], ...]
    channels: tuple[int, ...] = ()  # that it is defined for; (): any

    def fits(self, channels: int) -> bool:
        """Whether images of so many channels can be corrupted."""
        return not self.channels or channels in self.channels

    def __call__(self, x: Tensor, severity: int, seed: int, ids: Sequence[int]) -> Tensor:
        """Images [n, C, H, W] of a severity from 1 to 5, in [0, 1]; ids [n] name the examples."""
        draws = Draws([seed_for(seed, self.name, severity, int(i)) for i in ids], x.device)
        return self.corrupt(x, draws, *self.constants[severity - 1]).clamp(0, 1)


def corruption(name: str) -> Corruption:
    """The corruption of that name; UnknownName if there is none."""
    for held in CORRUPTIONS:
        if held.name == name:
            return held
    raise UnknownName(f"no corruption is named {name!r}, expected one of {', '.join(NAMES)}")


def gaussian_noise(x: Tensor, draws: Draws, sd: float) -> Tensor:
    """x + sd n, n normal."""
    return x + sd * draws.normal(x.shape[1:])


def shot_noise(x: Tensor, draws: Draws, photons: float) -> Tensor:
    """Poisson(photons x) / photons: as many photons as fall on a white pixel."""
    return draws.poisson(x * photons) / photons


def impulse_noise(x: Tensor, draws: Draws, amount: float) -> Tensor:
    """That share of all values becomes black or white, half of them each."""
    chance = draws.uniform(x.shape[1:])
    return torch.where(chance < amount / 2, 0.0, torch.where(chance < amount, 1.0, x))


def speckle_noise(x: Tensor, draws: Draws, sd: float) -> Tensor:
    """x + x sd n, n normal."""
    return x + x * sd * draws.normal(x.shape[1:])


def brightness(x: Tensor, draws: Draws, more: float) -> Tensor:
    """The V of HSV raised by that much; hue and saturation stay."""
    value = x.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp(min=1e-6), raised)


def contrast(x: Tensor, draws: Draws, share: float) -> Tensor:
    """That share of the distance from each channel's mean."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * share + mean


def saturate(x: Tensor, draws: Draws, factor: float, more: float) -> Tensor:
    """The S of HSV times a factor and raised; a gray pixel has the hue of red, as in every HSV."""
    value = x.amax(1, keepdim=True)
    paleness = value - x  # of each channel: S V for the palest
    saturation = paleness.amax(1, keepdim=True) / value.clamp(min=1e-6)
    new = (saturation * factor + more).clamp(0, 1)
    red = value * x.new_tensor([0.0, 1.0, 1.0])[:, None, None]  # the paleness of pure red
    coloured = torch.where(saturation > 0, paleness / saturation.clamp(min=1e-6), red)
    return value - coloured * new


def jpeg(x: Tensor, draws: Draws, quality: float) -> Tensor:
    """Through JPEG's lossy compression, in 8 bits, by Pillow."""
    pixels = (x * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
    out = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(
            file, "JPEG", quality=int(quality)
        )
        out.append(np.asarray(Image.open(file)).reshape(image.shape))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).to(x.device).float() / 255


def pixelate(x: Tensor, draws: Draws, share: float) -> Tensor:
    """Averaged down to that share of each side, and each value drawn as a block."""
    down, across = (max(1, int(side * share)) for side in x.shape[2:])
    small = _box(x, down, across)
    return _box(small, x.shape[2], x.shape[3])


def _box(x: Tensor, height: int, width: int) -> Tensor:
    """Another size: means over the pixels whose middles a new one holds; enlarged, the nearest pixel."""
    down, across = _boxes(x.shape[2], height, x), _boxes(x.shape[3], width, x)
    return torch.einsum("hi,ncij,wj->nchw", down, x, across)


def _boxes(old: int, new: int, x: Tensor) -> Tensor:
    """The weight of each old pixel in each new one, [new, old]."""
    scale = old / new
    middles = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    away = (torch.arange(old, dtype=torch.float64) + 0.5 - middles[:, None]) / max(scale, 1.0)
    held = ((away > -0.5) & (away <= 0.5)).to(x)
    return held / held.sum(1, keepdim=True)


def _each(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("gaussian_noise", "noise", gaussian_noise, _each(0.04, 0.06, 0.08, 0.09, 0.10)),
    Corruption("shot_noise", "noise", shot_noise, _each(500, 250, 100, 75, 50)),
    Corruption("impulse_noise", "noise", impulse_noise, _each(0.01, 0.02, 0.03, 0.05, 0.07)),
    Corruption("speckle_noise", "noise", speckle_noise, _each(0.06, 0.1, 0.12, 0.16, 0.2)),
    Corruption("gaussian_blur", "blur", blurs.gaussian, _each(0.4, 0.6, 0.7, 0.8, 1.0)),
    Corruption(
        "defocus_blur", "blur", blurs.defocus, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    ),
    Corruption("glass_blur", "blur", blurs.glass, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))),
    Corruption("motion_blur", "blur", blurs.motion, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    Corruption("zoom_blur", "blur", blurs.zoom, _each(1.06, 1.11, 1.16, 1.21, 1.26)),
    Corruption(
        "snow",
        "weather",
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        channels=(1, 3),
    ),
    Corruption("fog", "weather", weather.fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    Corruption(
        "spatter",
        "weather",
        weather.spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        channels=(1, 3),
    ),
    Corruption("brightness", "weather", brightness, _each(0.05, 0.1, 0.15, 0.2, 0.3)),
    Corruption("contrast", "digital", contrast, _each(0.75, 0.5, 0.4, 0.3, 0.15)),
    Corruption(
        "saturate", "digital", saturate, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)), channels=(3,)
    ),
    Corruption("jpeg", "digital", jpeg, _each(80, 65, 58, 50, 40), channels=(1, 3)),
    Corruption("pixelate", "digital", pixelate, _each(0.95, 0.9, 0.85, 0.75, 0.65)),
    Corruption(
        "elastic",
        "digital",
        blurs.elastic,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
)
"""All of them, in the order of tables and in the groups of the paper."""

NAMES = tuple(held.name for held in CORRUPTIONS)

GROUPS = tuple(dict.fromkeys(held.group for held in CORRUPTIONS))
