"""Portraits of networks whose features, attention and contributions are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.api import Deployed, Features
from bench.evaluate.batches import Batches
from bench.evaluate.look import Lacking, look_at, purifier_of
from bench.studies.diagnose.features import (
    attention_map,
    contributing,
    contributions,
    coverage,
    embedding,
    nearest_mean,
    see,
    silhouette,
)
from defenses.losses import attention_map as learned_attention


class Small(nn.Module):
    """Two stages: the image times 1 and 3, and the image times 2; features are its pixels."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(4, classes)

    def forward(self, x):
        return self.linear(x.flatten(1))

    def forward_features(self, x):
        return Features(self(x), x.flatten(1), (torch.cat([x, 3 * x], dim=1), 2 * x))


class Purifying(nn.Module):
    """A classifier that sees half of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.purifier = nn.Threshold(-1.0, 0.0)  # changes no pixel in [0, 1]
        self.classifier = Small()

    def forward(self, x):
        return self.classifier(self.purifier(x))


IMAGE = torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]])


def test_attention_is_the_channel_sum_from_zero_to_one():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [3.0, 4.0]]]])  # sums 2, 2, 6, 8
    assert np.allclose(attention_map(maps), [[[0, 0], [4 / 6, 1]]])


def test_attention_of_each_image_stands_alone_and_a_constant_map_is_zero():
    maps = torch.cat([IMAGE, 100 * IMAGE + 7, torch.ones(1, 1, 2, 2)])
    found = attention_map(maps)
    assert torch.allclose(found[0], found[1]) and torch.allclose(found[0], IMAGE[0, 0])
    assert found[2].tolist() == [[0, 0], [0, 0]]


def test_attention_is_what_agkd_learns():
    maps = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(attention_map(maps), learned_attention(maps))


def test_contributions_add_up_to_the_logit_without_its_bias():
    torch.manual_seed(0)
    layer, features = nn.Linear(6, 3), torch.rand(4, 6)
    labels = np.array([0, 2, 1, 1])
    found = contributions(features.double().numpy(), layer.weight.detach().double().numpy(), labels)
    logits = (layer(features) - layer.bias).detach().numpy()
    assert np.allclose(found.sum(axis=1), logits[np.arange(4), labels], atol=1e-6)


@pytest.mark.parametrize(
    ("row", "count"),
    [
        ([10.0, 0.0, 0.0, 0.0], 1),
        ([9.0, 1.0, 0.0, 0.0], 1),  # exactly 90 %
        ([8.9, 1.1, 0.0, 0.0], 2),
        ([1.0, 6.0, -50.0, 3.0], 2),  # 6 + 3 of 10; what speaks against does not count
        ([0.1] * 10, 9),
        ([0.1] * 11, 10),  # 9 of 11 are 81.8 %
        ([-1.0, -2.0, 0.0, 0.0], 0),
    ],
)
def test_n90_by_hand(row, count):
    assert contributing(np.array([row])).tolist() == [count]
    assert contributing(np.array([row[::-1]]) * 1e-3).tolist() == [count], "order and scale do not matter"


def test_n90_is_where_the_coverage_of_one_example_passes_90_percent():
    found = np.random.default_rng(0).normal(size=(1, 40))
    count = contributing(found)[0]
    shares = coverage(found)
    assert shares[count - 1] >= 0.9 > shares[count - 2]
    assert shares[-1] == pytest.approx(1) and (np.diff(shares) >= 0).all()


def test_coverage_is_the_mean_over_examples_that_have_any():
    found = np.array([[1.0, 1.0], [3.0, 1.0], [-1.0, -1.0]])
    assert coverage(found).tolist() == pytest.approx([(0.5 + 0.75) / 2, 1])
    assert coverage(-np.abs(found)).tolist() == [0, 0]


def test_nearest_mean_leaves_the_examples_own_image_out():
    # class 0 at 0 and 4, class 1 at 5 and 7: 4 is nearer to 6 (distance 2) than to 0, its only companion
    clean, labels = np.array([[0.0], [4.0], [5.0], [7.0]]), np.array([0, 0, 1, 1])
    assert nearest_mean(clean, clean, labels).tolist() == [True, False, True, True]


def test_nearest_mean_skips_classes_with_one_example():
    clean, labels = np.array([[0.0], [1.0], [9.0]]), np.array([0, 0, 5])
    assert nearest_mean(clean, clean, labels).tolist() == [True, True]
    assert len(nearest_mean(clean[:1], clean[:1], labels[:1])) == 0


def test_silhouette_by_hand():
    # a = 1 within each pair; b = 9.5 or 10.5 to the other: means of 1 - 1/10.5 and 1 - 1/9.5
    features, labels = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([0, 0, 1, 1])
    assert silhouette(features, labels) == pytest.approx(1 - (1 / 10.5 + 1 / 9.5) / 2)
    assert silhouette(features, np.zeros(4, dtype=int)) is None
    assert silhouette(features, np.arange(4)) is None


def test_pca_keeps_distances_of_a_plane_and_tells_its_shares():
    # variances 8 and 2 along two directions of five
    plane = np.array([[4.0, 0], [-4, 0], [0, 2], [0, -2]])
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))[0].T
    found, explained = embedding(plane @ directions, "pca", seed=0)
    assert explained == pytest.approx((0.8, 0.2))
    assert np.allclose(np.abs(found), np.abs(plane))
    again, _ = embedding(plane @ directions, "pca", seed=1)
    assert (again == found).all()


def test_tsne_keeps_far_groups_apart_and_its_seed():
    generator = np.random.default_rng(0)
    features = np.concatenate([generator.normal(size=(15, 4)), 100 + generator.normal(size=(15, 4))])
    found, explained = embedding(features, "tsne", seed=3)
    assert explained is None and (found == embedding(features, "tsne", seed=3)[0]).all()
    groups = found[:15], found[15:]
    apart = np.linalg.norm(groups[0].mean(0) - groups[1].mean(0))
    assert apart > max(np.linalg.norm(group - group.mean(0), axis=1).max() for group in groups)


def test_two_examples_or_equal_ones_have_an_embedding():
    assert embedding(np.ones((2, 3)), "pca", seed=0)[1] == (0, 0)
    assert np.isfinite(embedding(np.arange(6.0).reshape(2, 3), "tsne", seed=0)[0]).all()
    with pytest.raises(Lacking, match="single feature"):
        embedding(np.ones((2, 1)), "pca", seed=0)


def test_features_are_seen_where_the_answers_come_from():
    net = Small()
    look = look_at(net, Deployed(predict=net), IMAGE)
    seen = see(look, IMAGE, Batches(4), stage=0)
    assert look.network is net and seen.stages == 2
    assert seen.features.tolist() == [[0, 0.25, 0.5, 1]]
    assert np.allclose(seen.attention, IMAGE[0]) and seen.attention.shape == (1, 2, 2)
    assert see(look, IMAGE, Batches(4), stage=2).attention is None


def test_behind_a_purifier_the_features_are_those_of_the_purified_image():
    net = Purifying()
    net.purifier = nn.Threshold(0.3, 0.0)  # dark pixels go
    look = look_at(net, Deployed(predict=net, classifier=net.classifier), IMAGE)
    assert look.network is net.classifier
    assert see(look, IMAGE, Batches(4)).features.tolist() == [[0, 0, 0.5, 1]]
    assert purifier_of(net) == (net.purifier, net.classifier)


def test_what_a_network_lacks_is_said():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(Lacking, match="lends no features"):
        look_at(plain, Deployed(predict=plain), IMAGE)
    with pytest.raises(Lacking, match="not those that its answers come from"):
        look_at(Small(), Deployed(predict=plain), IMAGE)
    with pytest.raises(Lacking, match="no purifier"):
        purifier_of(plain)
