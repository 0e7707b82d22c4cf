"""PSNR and SSIM against hand computation and against scikit-image 0.26."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.fidelity import psnr, ssim


def pair(shape: tuple[int, ...], noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures [1, C, H, W] from a formula."""
    k = np.arange(np.prod(shape)).reshape(shape)
    x = 0.5 + 0.5 * np.sin(0.37 * k + 0.011 * (k % 17) ** 2)
    return x[None], np.clip(x + noise * np.cos(1.3 * k), 0, 1)[None]


# scikit-image 0.26: structural_similarity(gaussian_weights=True, use_sample_covariance=False, data_range=1)
# over all channels, and peak_signal_noise_ratio(data_range=1)
@pytest.mark.parametrize(
    ("shape", "noise", "similarity", "ratio"),
    [
        ((1, 16, 20), 0.1, 0.9798718319539075, 23.69000127389569),
        ((3, 32, 32), 0.3, 0.8246058972324052, 14.845583039481776),
    ],
)
def test_agrees_with_scikit_image(shape, noise, similarity, ratio):
    x, y = pair(shape, noise)
    assert ssim(x, y) == pytest.approx([similarity], abs=1e-9)
    assert psnr(x, y) == pytest.approx([ratio], abs=1e-9)


def test_constant_images_leave_the_brightness_term():
    x, y = np.full((1, 1, 12, 12), 0.5), np.full((1, 1, 12, 12), 0.25)
    # no variance: (2 * 0.5 * 0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4), and the structure term is 1
    assert ssim(x, y) == pytest.approx([0.2501 / 0.3126])
    assert psnr(x, y) == pytest.approx([10 * np.log10(16)])


def test_the_negative_of_an_image_has_the_same_brightness_and_the_opposite_structure():
    x = 0.5 + 0.25 * np.sign(np.random.default_rng(0).random((1, 1, 11, 11)) - 0.5)
    assert ssim(x, 1 - x) < 0 < ssim(x, x)


def test_equal_images_are_perfect_and_each_image_stands_alone():
    x, y = pair((1, 16, 16), 0.2)
    both = ssim(np.concatenate([x, x]), np.concatenate([x, y]))
    assert both[0] == pytest.approx(1) and both[1] == pytest.approx(ssim(x, y)[0])
    assert psnr(x, x) == [np.inf]


@pytest.mark.parametrize("side", [1, 2, 8])
def test_images_smaller_than_the_window_are_measured_with_a_smaller_one(side):
    x = np.random.default_rng(1).random((3, 1, side, side))
    assert ssim(x, x) == pytest.approx([1] * 3)
    assert (ssim(x, 1 - x) < 1).all()


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="expected the same"):
        ssim(np.zeros((1, 1, 8, 8)), np.zeros((2, 1, 8, 8)))
