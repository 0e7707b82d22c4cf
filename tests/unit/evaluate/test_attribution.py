"""Whose images other people's code asks about: whatever it cuts, no image is surely taken for another's."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.attacks.geometry import distance, random_start
from bench.core.threat import Budget, Norm
from bench.evaluate.attribution import Attribution

N = 96
NARROW = [
    Budget(Norm.LINF, Fraction("0.2")),
    Budget(Norm.L2, Fraction("0.9")),
    Budget(Norm.L1, Fraction(4)),
    Budget(Norm.L0, Fraction(6)),
]
WIDE = [
    Budget(Norm.LINF, Fraction("0.4")),
    Budget(Norm.LINF, Fraction(1)),
    Budget(Norm.L2, Fraction("1.5")),
    Budget(Norm.L1, Fraction(10)),
    Budget(Norm.L0, Fraction(40)),
]
"""Radii that reach the neighbours of an image in a crowd."""

label = {"ids": lambda held: getattr(held, "label", None)}


@pytest.fixture
def clean():
    return torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def crowd(clean):
    """Twelve images, each eight times with some of its values changed."""
    generator = torch.Generator().manual_seed(2)
    change = 0.4 * (torch.rand(clean.shape, generator=generator) - 0.5)
    some = torch.rand(clean.shape, generator=generator) < 0.15
    return (clean[:12].repeat(8, 1, 1, 1) + change * some).clamp(0, 1)


def batches(cut):
    """What attacks ask about in a row: every batch twice, as in two steps."""
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    cuts = {
        "ones": torch.arange(N).split(1),
        "thirds": torch.arange(N).split(32),
        "whole": [torch.arange(N)],
        "another order": order.split(32),
        "falling": [torch.arange(N)[k:] for k in range(0, N, 7)],
        "copies": torch.arange(N).repeat_interleave(4).split(32),
    }
    return [rows for rows in cuts[cut] for _ in range(2)]


every_cut = pytest.mark.parametrize("cut", ["ones", "thirds", "whole", "another order", "falling", "copies"])


@every_cut
@pytest.mark.parametrize("budget", NARROW, **label)
def test_within_a_radius_that_reaches_nobody_else_every_image_is_surely_its_own(budget, cut, clean):
    attribution, generator = Attribution(clean, budget), torch.Generator().manual_seed(1)
    for rows in batches(cut):
        found, guessed = attribution(random_start(clean[rows], budget, generator))
        assert torch.equal(found, rows) and guessed is None
    assert not attribution.shared.any()


@every_cut
@pytest.mark.parametrize("budget", WIDE, **label)
def test_what_is_called_sure_is_so_and_every_guess_lies_within_the_radius_of_several(budget, cut, crowd):
    attribution, generator = Attribution(crowd, budget), torch.Generator().manual_seed(1)
    shared = torch.zeros(N, dtype=torch.bool)
    inner = Budget(budget.norm, budget.eps / 2)
    for rows in batches(cut):
        x = random_start(crowd[rows], inner, generator)
        found, guessed = attribution(x)
        guessed = torch.zeros(len(rows), dtype=torch.bool) if guessed is None else guessed
        # by hand, image by image and pixel by pixel
        lengths = torch.stack([distance(image.expand_as(crowd), crowd, budget.norm) for image in x])
        possible = lengths <= budget.radius + 1e-5
        several = possible.sum(1) > 1
        assert torch.equal(guessed, several)
        assert torch.equal(found[~guessed], rows[~guessed])
        assert possible.gather(1, found[:, None]).all(), "it could not be of this one"
        shared[found[several]] = True
    assert shared.any(), "or nothing would be tested"
    assert torch.equal(attribution.shared, shared)


@pytest.mark.parametrize("cut", ["ones", "thirds", "another order", "whole"])
@pytest.mark.parametrize("budget", WIDE, **label)
def test_from_the_clean_image_on_small_steps_are_followed_wherever_they_lead(budget, cut, crowd):
    """From each image nearly to a neighbour's: the second half of the way is nearer to a stranger."""
    attribution = Attribution(crowd, budget)
    stranger, taken = 0, batches(cut)[::2][:24]
    for rows in taken:
        start, end = crowd[rows], crowd[(rows + 12) % N]
        for step in range(18):
            x = start + (end - start) * step / 20
            assert torch.equal(attribution(x)[0], rows)
        lengths = torch.cdist(x.flatten(1), crowd.flatten(1))
        stranger += int((lengths.argmin(1) != rows).sum())
    assert stranger > sum(len(rows) for rows in taken) / 2, "or nothing would be tested"


def test_two_clean_images_that_are_equal_are_told_apart_by_their_place_alone():
    clean = torch.zeros(3, 1, 2, 2)
    clean[2] = 1
    attribution = Attribution(clean, NARROW[0])
    for step in range(3):
        rows, guessed = attribution(clean + 0.01 * step * torch.tensor([1.0, 1, -1])[:, None, None, None])
        assert rows.tolist() == [0, 1, 2] and guessed.tolist() == [True, True, False]


def test_beyond_the_radius_an_image_is_surely_of_the_nearest_if_others_are_twice_as_far():
    clean = torch.tensor([0.0, 0.9])[:, None, None, None].expand(2, 1, 2, 2).contiguous()
    attribution = Attribution(clean, Budget(Norm.LINF, Fraction("0.1")))
    levels = torch.tensor([0.2, 0.29, 0.31, 0.5, 0.61])[:, None, None, None].expand(5, 1, 2, 2)
    rows, guessed = attribution(levels)
    assert rows.tolist() == [0, 0, 0, 1, 1] and guessed.tolist() == [False, False, True, True, False]
    assert not attribution.shared.any(), "it was no image that counts"


@pytest.mark.parametrize("budget", [*NARROW, *WIDE], **label)
def test_one_example_has_all_images(budget, clean):
    attribution = Attribution(clean[:1], budget)
    for x in (clean[:1], clean[:5], 5 * clean, clean[:1] * torch.nan):
        rows, guessed = attribution(x)
        assert rows.tolist() == [0] * len(x) and guessed is None


def test_no_example_and_no_image(clean):
    assert Attribution(clean[:0], WIDE[2])(clean[:0])[0].tolist() == []
    rows, guessed = Attribution(clean, WIDE[2])(clean[:0])
    assert rows.tolist() == [] and guessed is None
