import dataclasses
import math

import numpy as np
import pytest
import torch

from bench.data import dataset as module
from bench.data.catalog import CATALOG, source
from bench.data.dataset import Images, assemble, check
from bench.data.load import load
from bench.data.splits import Splits, hold_out, interleaved, permutation
from bench.errors import BadData, BadValue

GENERATOR = np.random.default_rng(0)


def images(x, y):
    return Images(x, torch.tensor(y), torch.arange(len(y)))


def own(n=60, name="npz:own.npz", **changes):
    """A data set of uint8 noise in RGB with three classes, 3:2:1."""
    labels = np.tile([0, 0, 0, 1, 1, 2], n // 6)
    x = np.random.default_rng(1).integers(0, 256, (n, 3, 4, 4), np.uint8)
    splits = Splits(x, labels, x[:12], labels[:12])
    return assemble(source(name), dataclasses.replace(splits, **changes))


def test_bytes_become_floats_only_when_asked_for():
    x = torch.tensor([0, 51, 255, 128], dtype=torch.uint8).view(1, 1, 2, 2)
    pixels, labels = images(x, [2]).batch(torch.tensor([0, 0]))
    assert pixels.dtype == torch.float32 and pixels.shape == (2, 1, 2, 2)
    assert pixels[1].flatten().tolist() == pytest.approx([0, 0.2, 1, 128 / 255])
    assert labels.tolist() == [2, 2]


def test_floats_stay_as_they_are_and_a_batch_is_a_copy():
    stored = images(torch.full((2, 1, 2, 2), 0.3), [0, 1])
    pixels, _ = stored.batch(torch.tensor([1]))
    pixels.zero_()
    assert stored.x.min() == pytest.approx(0.3)


def test_taken_rows_keep_their_ids():
    taken = own().test.take(torch.tensor([4, 2]))
    assert len(taken) == 2
    assert taken.ids.tolist() == [4, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, 1.5])
def test_pixels_outside_the_box_are_named(value):
    x = torch.zeros(3, 2, 4, 5)
    x[2, 1, 3, 4] = value
    with pytest.raises(
        BadData, match=r"mine: image 2 has the value \S+ in channel 1, row 3, column 4, expected"
    ):
        check(images(x, [0, 1, 0]), "mine", 2)


def test_a_scale_of_255_gets_a_hint():
    with pytest.raises(BadData, match="dividing by 255"):
        check(images(torch.full((1, 1, 2, 2), 255.0), [0]), "mine", 2)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_out_of_range_are_named(label):
    with pytest.raises(BadData, match=f"mine: image 1 has label {label}, expected 0 to 1"):
        check(images(torch.zeros(3, 1, 2, 2), [0, label, 1]), "mine", 2)


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadData, match="3 images and 2 labels"):
        check(images(torch.zeros(3, 1, 2, 2), [0, 1]), "mine", 2)
    with pytest.raises(BadData, match="no images"):
        check(images(torch.zeros(0, 1, 2, 2), []), "mine", 2)
    with pytest.raises(BadData, match=r"shape \[3, 2, 2\], expected \[N, C, H, W\]"):
        check(images(torch.zeros(3, 2, 2), [0, 1, 1]), "mine", 2)
    with pytest.raises(BadData, match=r"\[1, 2, 2\], expected \[3, 32, 32\]"):
        check(images(torch.zeros(1, 1, 2, 2), [0]), "mine", 2, (3, 32, 32))
    with pytest.raises(BadData, match="float64, expected uint8 or float32"):
        check(images(torch.zeros(1, 1, 2, 2).double(), [0]), "mine", 2)


@pytest.mark.parametrize(
    ("pixels", "told", "mended"),
    [
        (np.uint8([0, 1]), "above 1 where white is 255.*multiplying by 255", np.uint8([0, 255])),
        (np.uint8([0, 16]), r"above 16 where white is 255.*scaling them to \[0, 1\]", np.float32([0, 1])),
        (np.float32([0, 1]) / 255, "above 0.00392157 where white is 1,.*multiplying by", np.float32([0, 1])),
        (np.float64([0, 0.1]), "above 0.1 where white is 1,.*scaling", np.float64([0, 1])),
    ],
)
def test_images_that_became_almost_black_are_refused(pixels, told, mended):
    chosen = np.random.default_rng(2).integers(0, 2, (60, 3, 4, 4))
    with pytest.raises(BadData, match=f"npz:own, training set: no pixel of any image is {told}"):
        own(x_train=pixels[chosen])
    with pytest.raises(BadData, match="npz:own, test set: no pixel"):
        own(x_test=pixels[chosen[:12]])
    assert own(x_train=mended[chosen], x_test=mended[chosen[:12]]).test.batch(torch.tensor([0]))[0].max() == 1


@pytest.mark.parametrize("value", [0, 7, 255])
def test_images_that_do_not_differ_are_refused(value):
    with pytest.raises(BadData, match="npz:own, training set: all 60 images are the same"):
        own(x_train=np.full((60, 3, 4, 4), value, np.uint8))
    with pytest.raises(BadData, match="npz:own, test set: all 12 images are the same"):
        own(x_test=np.full((12, 3, 4, 4), value, np.uint8))


def test_each_mistake_is_found_when_a_data_set_is_assembled():
    with pytest.raises(BadData, match="npz:own, test set: there are 12 images and 11 labels"):
        own(y_test=np.zeros(11, int))
    with pytest.raises(BadData, match="training set: the labels are float64"):
        own(y_train=np.zeros(60))
    with pytest.raises(BadData, match="training set: the pixels are int64"):
        own(x_train=np.zeros((60, 3, 4, 4), int))
    with pytest.raises(BadData, match="image 7 has label 3, expected 0 to 2"):
        own(y_test=np.array([0] * 7 + [3] * 5))
    with pytest.raises(BadData, match="image 0 has label 9223372036854775807"):
        own(y_test=np.full(12, 2**64 - 1, np.uint64))
    with pytest.raises(BadData, match="test set: the images have shape"):
        own(x_test=np.zeros((12, 1, 4, 4), np.uint8))
    with pytest.raises(BadData, match="no image has label 2, though some have 1000000000, expected labels"):
        own(y_train=np.resize([0, 1, 10**9], 60))
    with pytest.raises(BadData, match="every image has label 0"):
        own(y_train=np.zeros(60, int))
    with pytest.raises(BadData, match="image 3 has label -1"):
        own(y_train=np.resize([0, 1, 2, -1], 60))
    with pytest.raises(BadData, match="there are no images"):
        own(x_test=np.zeros((0, 3, 4, 4), np.uint8), y_test=np.zeros(0, int))


def test_validation_is_a_stratified_tenth_that_training_lacks():
    found = own(600)
    assert found.validation.y.bincount().tolist() == [30, 20, 10]
    assert found.train.y.bincount().tolist() == [270, 180, 90]
    rows = {tuple(x.flatten().tolist()) for x in found.train.x}
    assert not rows & {tuple(x.flatten().tolist()) for x in found.validation.x}
    assert found.train.ids.tolist() == list(range(540))


def test_validation_is_the_same_again_and_another_for_another_name():
    first, again, other = own(600), own(600), own(600, "npz:other.npz")
    assert torch.equal(first.validation.x, again.validation.x)
    assert not torch.equal(first.validation.x, other.validation.x)


def sorted_data(name, counts):
    """A training set in the order of its classes, and every image the number of its row."""
    labels = np.repeat(np.arange(len(counts)), counts)
    x = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1) / len(labels) * np.ones((1, 1, 4, 4))
    return assemble(source(name), Splits(x, labels, x[:: len(labels) // 10], labels[:: len(labels) // 10]))


@pytest.mark.parametrize("first", [10, 50, 100, 333])
def test_the_first_validation_images_of_sorted_data_are_of_all_classes(first):
    found = sorted_data("folder:sorted", [1000] * 10)
    counts = found.validation.y[:first].bincount(minlength=10)
    assert (counts - first / 10).abs().max() <= 1
    assert counts.sum() == first


def test_so_they_are_where_classes_are_rare():
    counts = [3000, 900, 300, 40, 20]
    found = sorted_data("npz:rare", counts).validation.y
    held = found.bincount(minlength=5)
    assert held.tolist() == [300, 90, 30, 4, 2]
    for first in (10, 71, 142, 213, 426):
        assert ((found[:first].bincount(minlength=5) - held * first / len(found)).abs() < 2).all()


def test_with_more_classes_than_images_that_are_looked_at_each_is_of_another_class():
    labels = np.repeat(np.arange(200), 25)
    assert np.bincount(labels[interleaved(labels, 1)[:50]]).max() <= 2
    assert np.bincount(labels[interleaved(labels, 1)][:1000]).tolist() == pytest.approx([5] * 200, abs=1)


def test_the_order_of_validation_images_is_a_shuffle_that_keeps_their_ids():
    found = sorted_data("folder:sorted", [100, 200])
    ids = found.validation.ids
    assert sorted(ids.tolist()) == list(range(30)) and ids.tolist() != list(range(30))
    in_order = found.validation.take(torch.argsort(ids))
    assert in_order.x.flatten(1)[:, 0].tolist() == sorted(in_order.x.flatten(1)[:, 0].tolist())
    assert torch.equal(found.validation.x, sorted_data("folder:sorted", [100, 200]).validation.x)
    assert not torch.equal(ids, sorted_data("folder:another", [100, 200]).validation.ids)


def test_validation_images_of_published_data_lie_as_they_were_published():
    labels = np.random.RandomState(0).permutation(np.repeat(np.arange(10), 60))
    x = np.random.RandomState(1).randint(256, size=(600, 1, 28, 28)).astype(np.uint8)
    found = assemble(CATALOG["mnist"], Splits(x, labels, x[:10], labels[:10]))
    assert found.validation.ids.tolist() == list(range(60))  # so trainings have the weights they had


def test_a_sorted_copy_of_published_data_is_noticed():
    labels = np.repeat(np.arange(10), 60)
    x = np.random.RandomState(1).randint(256, size=(600, 1, 28, 28)).astype(np.uint8)
    found = assemble(CATALOG["mnist"], Splits(x, labels, x[:10], labels[:10]))
    assert len(found.validation.y[:20].unique()) == 10


def test_at_most_5000_are_held_out():
    labels = np.arange(60000) % 10
    kept, away = hold_out(labels, 5000, seed=3)
    assert np.bincount(labels[away]).tolist() == [500] * 10
    assert sorted([*kept, *away]) == list(range(60000))
    x = np.zeros((60000, 1, 8, 8), np.uint8)
    x[1::2] = 255
    big = assemble(CATALOG["digits"], Splits(x, labels, x[:10], labels[:10]))
    assert len(big.validation) == 5000


def test_rare_classes_are_held_out_at_least_once_within_the_size():
    labels = np.repeat([0, 1, 2, 3], [1000, 4, 2, 1])
    kept, away = hold_out(labels, 100, seed=0)
    assert np.bincount(labels[away], minlength=4).tolist() == [98, 1, 1, 0]
    assert len(kept) + len(away) == len(labels)


def test_more_classes_than_places_still_give_one_each():
    kept, away = hold_out(np.repeat(np.arange(20), 3), 6, seed=0)
    assert np.repeat(np.arange(20), 3)[away].tolist() == list(range(20))
    assert len(kept) == 40


def test_the_shuffle_never_changes():
    # the values that NumPy's legacy generator has given since 2006: Mersenne Twister, seeded with [5, 0]
    assert permutation(5, 8).tolist() == np.random.RandomState([5, 0]).permutation(8).tolist()
    assert permutation(2**40 + 5, 50).tolist() != permutation(5, 50).tolist()


def test_examples_are_a_prefix_of_one_shuffle():
    found = load("digits")
    few, many = module.test_subset(found, 100), module.test_subset(found, 300)
    everything = module.test_subset(found, None)
    assert torch.equal(few, many[:100]) and torch.equal(many, everything[:300])
    assert sorted(everything.tolist()) == list(range(len(found.test)))
    assert torch.equal(module.test_subset(found, 10**6), everything)
    assert few.tolist() != list(range(100))


def test_no_examples_are_a_mistake():
    with pytest.raises(BadValue, match="number of examples is 0"):
        module.test_subset(load("synthetic"), 0)


def test_the_digest_names_images_and_labels():
    base = own()
    assert base.digest == own().digest and len(base.digest) == 12
    brighter = np.random.default_rng(1).integers(0, 256, (60, 3, 4, 4), np.uint8)
    brighter[59, 2, 3, 3] ^= 1
    assert own(x_train=brighter).digest != base.digest
    relabelled = np.tile([0, 0, 0, 1, 1, 2], 10)
    relabelled[59] = 1
    assert own(y_train=relabelled).digest != base.digest


def test_statistics_of_ones_own_images_are_numpys():
    x = np.random.default_rng(1).integers(0, 256, (60, 3, 4, 4), np.uint8)
    found = own()
    assert found.mean == pytest.approx((x / 255).mean(axis=(0, 2, 3)), abs=6e-5)
    assert found.std == pytest.approx((x / 255).std(axis=(0, 2, 3)), abs=6e-5)


def test_a_constant_channel_is_not_divided_by_zero():
    x = np.random.default_rng(1).integers(0, 256, (60, 3, 4, 4), np.uint8)
    x[:, 1] = 7
    assert [value == 1.0 for value in own(x_train=x).std] == [False, True, False]


def test_a_task_says_what_a_network_needs():
    found = own()
    task = found.task()
    assert (task.data, task.num_classes, task.image_shape) == ("npz:own", 3, (3, 4, 4))
    assert task.architecture == "small_cnn" and task.budget.label == "Linf 8/255"
    assert found.task("resnet18").architecture == "resnet18"


def test_moving_reaches_every_split():
    moved = own().to("meta")
    assert {part.x.device.type for part in (moved.train, moved.validation, moved.test)} == {"meta"}
    assert moved.name == "npz:own"


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_published_means_are_those_of_the_training_images(name):
    found = load(name)
    x = torch.cat([found.train.x, found.validation.x])
    assert module._statistics(x) == (found.mean, found.std)
    pixels = x.double() / (255 if x.dtype == torch.uint8 else 1)
    assert found.mean[0] == pytest.approx(pixels.mean().item(), abs=5e-5)
    assert found.std[0] == pytest.approx(pixels.std(unbiased=False).item(), abs=5e-5)
