"""How close images are to others: PSNR, and SSIM (Wang, Bovik, Sheikh & Simoncelli, IEEE TIP 2004)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

WINDOW, SIGMA = 11, 1.5
"""Of SSIM's Gaussian; images that are smaller get the largest odd window that fits."""

C1, C2 = 0.01**2, 0.03**2
"""What keeps SSIM's quotients from zero, for pixels in [0, 1]."""

Images = NDArray[Any]
"""[n, C, H, W], pixels in [0, 1]."""


def psnr(images: Images, references: Images) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio [n] in dB, for pixels in [0, 1]; infinite where nothing differs.

    >>> psnr(np.full((1, 1, 4, 4), 0.6), np.full((1, 1, 4, 4), 0.5)).round(6).tolist()
    [20.0]
    """
    errors = _checked(images, references)
    mean_squares = np.square(errors[0] - errors[1]).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = -10 * np.log10(mean_squares)
    return found


def ssim(images: Images, references: Images) -> NDArray[np.float64]:
    """Structural similarity [n]: mean over channels and over all places where the window fits.

    >>> x = np.random.default_rng(0).random((2, 3, 16, 16))
    >>> ssim(x, x).round(6).tolist()
    [1.0, 1.0]
    """
    x, y = _checked(images, references)
    side = min(WINDOW, *x.shape[2:])
    radius = (side - 1) // 2
    weights = np.exp(-np.square(np.arange(-radius, radius + 1)) / (2 * SIGMA**2))
    weights /= weights.sum()

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        blurred = correlate1d(correlate1d(values, weights, axis=2, mode="constant"), weights, axis=3)
        height, width = values.shape[2:]
        inside: NDArray[np.float64] = blurred[:, :, radius : height - radius, radius : width - radius]
        return inside

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (var_x + var_y + C2)
    found: NDArray[np.float64] = (brightness * structure).mean(axis=(1, 2, 3))
    return found


def _checked(images: Images, references: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if images.shape != references.shape or images.ndim != 4:
        raise ValueError(
            f"images of shape {images.shape} and {references.shape}, expected the same [n, C, H, W]"
        )
    return images.astype(np.float64), references.astype(np.float64)
