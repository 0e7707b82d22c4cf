"""Corruptions against scipy, Pillow, the standard library's colours, and what formulas say of gray images."""

from __future__ import annotations

import colorsys
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from bench.errors import UnknownName
from bench.studies.shift import blurs, weather
from bench.studies.shift.corruptions import (
    CORRUPTIONS,
    NAMES,
    SEVERITIES,
    brightness,
    contrast,
    corruption,
    pixelate,
    saturate,
)
from bench.studies.shift.draws import Draws

CPU = torch.device("cpu")
GRAY = torch.full((40, 1, 28, 28), 0.5)


@pytest.fixture(scope="module")
def pictures():
    """Smooth coloured images with some texture, [24, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(24, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(rough, size=32, mode="bicubic", align_corners=False)
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("held", CORRUPTIONS, ids=NAMES)
def test_every_corruption_keeps_shape_and_range_and_depends_on_seed_and_example_alone(held, pictures):
    for x in (pictures, pictures[:, :1, :8, :8], pictures[:6, :, :28, :31], pictures[:, [0, 1, 2, 0]]):
        if not held.fits(x.shape[1]):
            continue
        ids = range(100, 100 + len(x))
        out = held(x, 5, 7, ids)
        assert out.shape == x.shape and out.dtype == x.dtype and out.isfinite().all()
        assert out.min() >= 0 and out.max() <= 1 and not torch.equal(out, x)
        assert torch.allclose(held(x[2:5], 5, 7, ids[2:5]), out[2:5], atol=1e-6), "whoever is beside it"
    assert torch.equal(held(pictures, 2, 7, range(24)), held(pictures, 2, 7, range(24)))


RANDOM = [name for name in NAMES if name.endswith("noise")] + ["motion_blur", "glass_blur", "snow", "fog"]


@pytest.mark.parametrize("name", [*RANDOM, "spatter", "elastic"])
def test_another_seed_or_example_is_another_draw(name, pictures):
    held, same = corruption(name), pictures[:1].expand(24, -1, -1, -1)
    assert not torch.equal(held(pictures, 3, 0, range(24)), held(pictures, 3, 1, range(24)))
    drawn = held(same, 3, 0, range(24))
    assert len({tuple(image.flatten()[:300].tolist()) for image in drawn}) == 24


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if name not in ("glass_blur", "spatter", "saturate", "pixelate", "elastic")],
)
def test_severity_grows_in_mean_distance(name, pictures):
    """Not of those whose published constants change in kind from one severity to the next."""
    held = corruption(name)
    far = [(held(pictures, s, 0, range(24)) - pictures).flatten(1).norm(dim=1).mean() for s in SEVERITIES]
    assert all(b > 0.97 * a for a, b in itertools.pairwise(far)) and far[4] > 1.15 * far[0]


def test_the_noise_on_gray_has_the_stated_statistics():
    n = GRAY.numel()
    for severity, sd in enumerate((0.04, 0.06, 0.08, 0.09, 0.10), start=1):
        noise = corruption("gaussian_noise")(GRAY, severity, 0, range(40)) - 0.5
        assert noise.std().item() == pytest.approx(sd, rel=0.02) and abs(noise.mean()) < 4 * sd / n**0.5
    for severity, photons in enumerate((500, 250, 100, 75, 50), start=1):
        noise = corruption("shot_noise")(GRAY, severity, 0, range(40)) - 0.5
        assert noise.std().item() == pytest.approx((0.5 / photons) ** 0.5, rel=0.02)
    for severity, amount in enumerate((0.01, 0.02, 0.03, 0.05, 0.07), start=1):
        out = corruption("impulse_noise")(GRAY, severity, 0, range(40))
        tolerance = 4 * (amount / n) ** 0.5
        assert (out == 0).float().mean().item() == pytest.approx(amount / 2, abs=tolerance)
        assert (out == 1).float().mean().item() == pytest.approx(amount / 2, abs=tolerance)
        assert ((out == 0) | (out == 1) | (out == 0.5)).all()
    for severity, sd in enumerate((0.06, 0.1, 0.12, 0.16, 0.2), start=1):
        noise = corruption("speckle_noise")(GRAY, severity, 0, range(40)) - 0.5
        assert noise.std().item() == pytest.approx(0.5 * sd, rel=0.02)


@pytest.mark.parametrize("sd", [0.4, 0.7, 1.0, 2.5])
@pytest.mark.parametrize(("border", "theirs"), [("replicate", "nearest"), ("symmetric", "reflect")])
def test_the_gaussian_blur_is_scipys(sd, border, theirs, pictures):
    known = ndimage.gaussian_filter(pictures[0, 0].double().numpy(), sd, mode=theirs)
    ours = blurs.smoothed(pictures[:1].double(), sd, border)[0, 0]
    assert np.allclose(ours, known, atol=1e-7)


def test_a_wide_border_of_a_small_image_is_reflected_more_than_once():
    x = torch.rand(1, 1, 5, 4, dtype=torch.float64)
    known = ndimage.gaussian_filter(x[0, 0].numpy(), 3.0, mode="reflect")
    assert np.allclose(blurs.smoothed(x, 3.0, "symmetric")[0, 0], known, atol=1e-7)


def test_the_defocus_is_scipys_convolution_with_the_disk(pictures):
    """Radius 1.5 holds 9 pixels; a soft edge of 0.1 leaves the disk as it is."""
    known = ndimage.convolve(pictures[0, 1].double().numpy(), np.ones((3, 3)) / 9, mode="mirror")
    assert np.allclose(blurs.defocus(pictures[:1].double(), None, 1.5, 0.1)[0, 1], known, atol=1e-6)


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_blurs_leave_a_plain_image(name, severity):
    assert torch.allclose(corruption(name)(GRAY[:3], severity, 0, range(3)), GRAY[:3], atol=1e-5)


def clipped_zoom(image, factor):
    """As the authors of CIFAR-10-C enlarge [H, W, C]: ImageNet-C/create_c/make_cifar_c.py, by scipy."""
    side = image.shape[0]
    kept = math.ceil(side / factor)
    top = (side - kept) // 2
    large = ndimage.zoom(image[top : top + kept, top : top + kept], (factor, factor, 1), order=1)
    trim = (large.shape[0] - side) // 2
    return large[trim : trim + side, trim : trim + side]


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [28, 32])
def test_the_zoom_blur_is_the_published_one(severity, side, pictures):
    """The ranges of factors as published; rounding lets np.arange(1, 1.06, 0.01) end in 1.06, not in 1.05."""
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)
    for x in pictures[:3, :, :side, :side].double():
        image = x.permute(1, 2, 0).numpy()
        known = (image + sum(clipped_zoom(image, factor) for factor in factors)) / (len(factors) + 1)
        ours = corruption("zoom_blur")(x[None], severity, 0, [0])[0].permute(1, 2, 0)
        assert np.allclose(ours, known.clip(0, 1), atol=1e-6)


def test_motion_draws_a_point_out_along_its_direction():
    """Sampled behind each pixel, so the tail of a point lies against the direction; its weights fall."""
    x = torch.zeros(1, 1, 31, 31)
    x[0, 0, 15, 15] = 1
    tail = blurs.drawn_out(x, torch.zeros(1), 6, 2.0)[0, 0]
    assert tail[15].sum().item() == pytest.approx(1, abs=1e-5) and tail.sum() == tail[15].sum()
    assert (tail[15, 10:16].diff() > 0).all() and tail[15, 16:].abs().max() < 1e-6
    down = blurs.drawn_out(x, torch.full((1,), 90.0), 6, 2.0)[0, 0]
    assert torch.allclose(down.T, tail, atol=1e-5)


def test_glass_only_swaps_pixels(pictures):
    """With no blur around it, each image holds the same pixels as before."""
    out = blurs.glass(pictures[:4], Draws(range(4), CPU), 0.05, 2)
    assert not torch.equal(out, pictures[:4])
    for before, after in zip(pictures, out, strict=False):
        columns = [tuple(pixel) for pixel in before.flatten(1).T.tolist()]
        assert sorted(columns) == sorted(tuple(pixel) for pixel in after.flatten(1).T.tolist())


def test_colours_are_those_of_hsv(pictures):
    """colorsys knows the same colours one by one; a gray pixel among them."""
    x = pictures[:1].double().clone()
    x[0, :, 0, 0] = 0.4
    bright, vivid = brightness(x, None, 0.15), saturate(x, None, 2.0, 0.1)
    for row, column in [(0, 0), (3, 4), (10, 20), (31, 31)]:
        h, s, v = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
        known = colorsys.hsv_to_rgb(h, s, min(1, v + 0.15))
        assert bright[0, :, row, column].tolist() == pytest.approx(known, abs=1e-6)
        known = colorsys.hsv_to_rgb(h, min(1, 2 * s + 0.1), v)
        assert vivid[0, :, row, column].tolist() == pytest.approx(known, abs=1e-6)


def test_identity_limits(pictures):
    assert torch.allclose(contrast(pictures, None, 1.0), pictures, atol=1e-6)
    assert torch.allclose(brightness(pictures, None, 0.0), pictures, atol=1e-6)
    assert torch.allclose(saturate(pictures, None, 1.0, 0.0), pictures, atol=1e-5)
    assert torch.allclose(pixelate(pictures, None, 1.0), pictures)
    assert torch.allclose(blurs.magnified(pictures, 1.0), pictures, atol=1e-5)
    still = blurs.elastic(pictures, Draws(range(24), CPU), 0.0, 0.1, 0.0)
    assert torch.allclose(still, pictures, atol=1e-4)
    assert contrast(pictures, None, 0.0).flatten(2).std(2).max() < 1e-6
    files = corruption("jpeg").corrupt(pictures[:, :1], None, 100)
    assert (files - pictures[:, :1]).abs().mean() < 0.005


@pytest.mark.parametrize("share", [0.95, 0.75, 0.65])
def test_pixelate_is_pillows_box(share, pictures):
    x = pictures[:, :, :, :28]
    for image, ours in zip(x[:3, 0], pixelate(x, None, share)[:3, 0], strict=True):
        small = Image.fromarray(image.numpy(), mode="F").resize((int(28 * share), int(32 * share)), Image.BOX)
        assert np.allclose(np.array(small.resize((28, 32), Image.BOX)), ours, atol=1e-6)


def test_plasma_is_a_cloud_from_0_to_1_that_smooths_with_its_decay():
    rough, smooth = (weather.plasma(Draws(range(5), CPU), 32, decay) for decay in (1.2, 3.0))
    for cloud in (rough, smooth):
        assert cloud.shape == (5, 32, 32) and cloud.amin((1, 2)).abs().max() == 0 and cloud.amax() == 1
    assert rough.diff(dim=2).abs().mean() > 2 * smooth.diff(dim=2).abs().mean()
    assert weather.plasma(Draws(range(2), CPU), 28, 2.0).shape == (2, 32, 32)


def test_lengths_grow_with_the_image_and_never_shrink():
    assert blurs.scale_of(torch.zeros(1, 3, 64, 80)) == 2 and blurs.scale_of(torch.zeros(1, 1, 8, 8)) == 1


def test_an_unknown_name_is_told():
    with pytest.raises(UnknownName, match="'frost'"):
        corruption("frost")
