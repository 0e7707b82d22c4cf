import pytest
import torch

from bench.data.augment import crop_flip, shift_flip


def one_by_one(x, top, left, flipped, padding):
    """The textbook augmentation of one image after another."""
    channels, height, width = x.shape[1:]
    out = []
    drawn = zip(x, top.tolist(), left.tolist(), flipped.tolist(), strict=True)
    for image, row, column, flip in drawn:
        canvas = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=x.dtype)
        canvas[:, padding : padding + height, padding : padding + width] = image
        window = canvas[:, row : row + height, column : column + width]
        out.append(window.flip(-1) if flip else window)
    return torch.stack(out)


@pytest.mark.parametrize(("shape", "padding"), [((40, 3, 8, 8), 4), ((25, 1, 5, 9), 2), ((1, 3, 4, 4), 1)])
def test_equals_a_loop_over_images(shape, padding):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator)
    top, left = (torch.randint(2 * padding + 1, shape[:1], generator=generator) for _ in range(2))
    flipped = torch.randint(2, shape[:1], generator=generator).bool()
    expected = one_by_one(x, top, left, flipped, padding)
    assert torch.equal(shift_flip(x, top, left, flipped, padding), expected)


def test_no_shift_and_no_flip_is_no_change():
    x = torch.rand(3, 3, 8, 8)
    middle = torch.full((3,), 4)
    assert torch.equal(shift_flip(x, middle, middle, torch.zeros(3).bool(), 4), x)


def test_every_image_is_one_of_its_162_windows_and_all_occur():
    x = torch.rand(1, 1, 6, 6) + 0.01
    found = crop_flip(x.expand(8000, 1, 6, 6), torch.Generator().manual_seed(0))
    places = torch.cartesian_prod(torch.arange(9), torch.arange(9), torch.arange(2))
    top, left, flipped = places.unbind(1)
    possible = one_by_one(x.expand(162, 1, 6, 6), top, left, flipped.bool(), 4)
    distinct = {tuple(image.flatten().tolist()) for image in found}
    assert distinct == {tuple(image.flatten().tolist()) for image in possible}


def test_half_are_flipped_and_shifts_are_uniform():
    x = torch.zeros(20000, 1, 9, 9)
    x[:, 0, 4, 4] = 1.0  # the middle: a flip does not move it
    x[:, 0, 4, 5] = 0.5  # its right neighbour: a flip moves it to the left
    found = crop_flip(x, torch.Generator().manual_seed(1), padding=1)
    spot = (found == 1).flatten(1).float().argmax(1)
    rows = (spot // 9).bincount(minlength=9)
    assert rows[3:6].sum() == 20000
    assert rows[3:6].tolist() == pytest.approx([20000 / 3] * 3, abs=300)  # 4.5 standard deviations
    right = (found == 0.5).flatten(1).float().argmax(1) > spot
    assert int(right.sum()) == pytest.approx(10000, abs=320)


def test_the_generator_decides():
    x = torch.rand(16, 3, 8, 8)
    first, again, other = (crop_flip(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_images_stay_in_the_box_and_keep_shape_and_type():
    found = crop_flip(torch.rand(16, 3, 8, 12), torch.Generator().manual_seed(0))
    assert found.shape == (16, 3, 8, 12) and found.dtype == torch.float32
    assert found.min() >= 0 and found.max() <= 1
