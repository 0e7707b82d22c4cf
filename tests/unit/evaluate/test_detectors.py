"""Detectors against scipy and brute force; a detector before a defense, and who gets past it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.aware import DetectorAware
from bench.attacks.pgd import PGD
from bench.core.detection import auroc
from bench.core.outcomes import REFUSED
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.batches import Batches
from bench.evaluate.detectors import (
    ClassMixture,
    Energy,
    KNearest,
    LocalDimension,
    Mahalanobis,
    MaxSoftmax,
    Sample,
)
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.look import Lacking, look_behind
from bench.evaluate.numerics import Numerics
from bench.studies.detect.guarded import Watch, climbable, guarded, lent

K, D = 3, 5
ALL = (MaxSoftmax(), Energy(), Mahalanobis(), KNearest(), LocalDimension(), ClassMixture(), ClassMixture(3))


def sample(n=600, seed=0):
    """Three Gaussian classes that share a covariance which is not round; logits are log densities."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(D, D, generator=torch.Generator().manual_seed(9)).double()
    means = 4 * torch.randn(K, D, generator=torch.Generator().manual_seed(8)).double()
    labels = torch.arange(n) % K
    features = means[labels] + torch.randn(n, D, generator=generator).double() @ mix
    white = torch.linalg.inv(mix)
    apart = ((features[:, None] - means) @ white).square().sum(2)
    return Sample(-apart / 2, features, labels)


TRAINED, FRESH = sample(), sample(90, seed=1)


def suspicion(detector, held=FRESH):
    return detector.suspicion(detector.fit(TRAINED), held.logits, held.features)


def test_max_softmax_orders_as_the_largest_probability_and_never_saturates():
    found = suspicion(MaxSoftmax()).numpy()
    top = softmax(FRESH.logits.numpy(), axis=1).max(1)
    below_one = top < 1 - 1e-9
    assert below_one.sum() > 20
    truth = np.log(1 - top[below_one]) - np.log(top[below_one])
    np.testing.assert_allclose(found[below_one], truth, atol=1e-6)
    sure = torch.tensor([[200.0, 0.0, -50.0], [300.0, 0.0, -50.0]]).double()
    assert torch.allclose(MaxSoftmax().suspicion({}, sure, sure), torch.tensor([-200.0, -300.0]).double())


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_energy_is_scipys(temperature):
    truth = -temperature * logsumexp(FRESH.logits.numpy() / temperature, axis=1)
    np.testing.assert_allclose(suspicion(Energy(temperature)), truth)


def test_mahalanobis_is_scipys():
    x, y = TRAINED.features.numpy(), TRAINED.labels.numpy()
    means = np.stack([x[y == label].mean(0) for label in range(K)])
    inverse = np.linalg.inv(np.cov((x - means[y]).T, bias=True))
    truth = cdist(FRESH.features.numpy(), means, "mahalanobis", VI=inverse).min(1) ** 2
    np.testing.assert_allclose(suspicion(Mahalanobis(ridge=0)), truth, rtol=1e-6)


def test_k_nearest_is_brute_force():
    unit = [held.features.numpy() / np.linalg.norm(held.features, axis=1, keepdims=True)
            for held in (FRESH, TRAINED)]  # fmt: skip
    truth = np.sort(cdist(unit[0], unit[1][:100], "sqeuclidean"), axis=1)[:, 6]
    np.testing.assert_allclose(suspicion(KNearest(k=7, bank=100)), truth, atol=1e-10)


def test_local_dimension_is_that_of_the_space():
    generator = np.random.default_rng(0)
    for dimension in (2, 6):
        cloud = torch.from_numpy(generator.random((4000, dimension)))
        logits = torch.zeros(4000, 2).double()
        detector = LocalDimension(k=100, bank=4000)
        fitted = detector.fit(Sample(logits, cloud, torch.arange(4000) % 2))
        middle = torch.from_numpy(0.3 + 0.4 * generator.random((50, dimension)))
        found = detector.suspicion(fitted, logits[:50], middle).mean()
        assert float(found) == pytest.approx(dimension, rel=0.15)


def test_one_component_is_a_gaussian_of_the_predicted_class():
    x, y, predicted = TRAINED.features.numpy(), TRAINED.labels.numpy(), FRESH.logits.argmax(1).numpy()
    detector = ClassMixture(ridge=1e-9)
    truth = [
        -multivariate_normal(x[y == label].mean(0), np.diag(x[y == label].var(0))).logpdf(point)
        for label, point in zip(predicted, FRESH.features.numpy(), strict=True)
    ]
    np.testing.assert_allclose(suspicion(detector), truth, rtol=1e-5)


@pytest.mark.parametrize("detector", ALL, ids=lambda held: type(held).__name__)
def test_suspicions_have_the_gradient_of_finite_differences(detector):
    fitted = detector.fit(TRAINED)
    features = FRESH.features[:6].clone().requires_grad_()
    logits = FRESH.logits[:6].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z, h: detector.suspicion(fitted, z, h), (logits, features), eps=1e-6, rtol=1e-3
    )


@pytest.mark.parametrize("detector", ALL[2:], ids=lambda held: type(held).__name__)
def test_what_lies_far_from_all_classes_is_suspicious(detector):
    away = 25 * torch.randn(90, D, generator=torch.Generator().manual_seed(3)).double()
    far = Sample(FRESH.logits, away, FRESH.labels)
    clean, odd = suspicion(detector).numpy(), suspicion(detector, far).numpy()
    assert auroc(odd, clean).value > 0.9


@pytest.mark.parametrize("detector", ALL, ids=lambda held: type(held).__name__)
def test_more_of_the_same_is_not_suspicious(detector):
    held, more = sample(400, seed=5), sample(400, seed=6)
    area = auroc(suspicion(detector, held).numpy(), suspicion(detector, more).numpy())
    assert abs(area.value - 0.5) < 0.1


def test_what_cannot_be_fitted_is_told():
    few = Sample(TRAINED.logits[:2], TRAINED.features[:2], TRAINED.labels[:2])
    for detector in (Mahalanobis(), ClassMixture()):
        with pytest.raises(BadValue, match="class 2 has no image among the 2"):
            detector.fit(few)
    with pytest.raises(BadValue, match="there are 2 images"):
        KNearest(k=5).fit(few)
    with pytest.raises(BadValue, match="200 images to fit 500 components"):
        ClassMixture(500).fit(TRAINED)
    for wrong in (lambda: KNearest(k=0), lambda: Energy(0.0), lambda: LocalDimension(k=1)):
        with pytest.raises(BadValue, match="expected"):
            wrong()


BUDGET = Budget(Norm.LINF, Fraction("0.3"))


class TwoPixels(nn.Module):
    """The left pixel decides; the right one counts a little, and clean images have it grey."""

    def forward(self, x):
        left, right = x[:, 0, 0, 0] - 0.5, x[:, 0, 0, 1] - 0.5
        margin = left + 0.1 * right
        return torch.stack([-margin, margin], dim=1)


def grey(x):
    """How far the right pixel is from grey."""
    return (x[:, 0, 0, 1].double() - 0.5).abs()


def judged(deployed, attack):
    x = torch.full((20, 1, 1, 2), 0.5)
    x[:10, 0, 0, 0], x[10:, 0, 0, 0] = 0.65, 0.35
    y = (x[:, 0, 0, 0] > 0.5).long()
    arena = Arena(deployed, BUDGET, 2, {}, Numerics(), Batches(64), seed=0)
    cell = play(arena, Trial("attack", attack, WHITE_BOX), Chunk(0, x, y, torch.arange(20)), seed=0)
    assert cell.outcomes is not None, cell.error
    return cell.outcomes


def test_the_plain_attack_is_caught_and_the_one_that_knows_passes():
    net = TwoPixels()
    alone, both = Deployed(net), guarded(Deployed(net), grey, grey, threshold=0.02)
    plain = PGD(steps=20, random_start=False)
    assert not judged(alone, plain).robust.any()
    caught = judged(both, plain)
    assert caught.robust.all()
    assert (caught.attacked == REFUSED).all()
    assert not judged(both, DetectorAware(rule="orthogonal")).robust.any()
    assert not judged(both, DetectorAware(rule="selective", steps=200)).robust.any()


def test_a_detector_of_the_defenses_own_stays():
    own = Deployed(TwoPixels(), detector=lambda x: x[:, 0, 0, 0] > 0.6)
    both = guarded(own, grey, grey, threshold=0.02)
    x = torch.tensor([[[[0.65, 0.5]]], [[[0.4, 0.5]]], [[[0.4, 0.6]]]])
    assert both.detector(x).tolist() == [True, False, True]
    suspicious = guarded(Deployed(TwoPixels(), suspicion=lambda x: x[:, 0, 0, 0] - 0.6), grey, grey, 0.02)
    assert suspicious.detector(x).tolist() == [True, False, True]
    # what attackers climb: 0.65 is refused by the defense itself, by 0.05, and the rest by the grey detector
    told = torch.tensor([0.05, -0.02, 0.08], dtype=torch.float64)
    assert torch.allclose(suspicious.suspicion(x).double(), told, atol=1e-6)
    assert ((suspicious.suspicion(x) > 0) == suspicious.detector(x)).all()


def test_features_come_from_the_last_layer_or_not_at_all():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    probe = torch.rand(4, 1, 1, 2)
    look = look_behind(net, Deployed(net), probe)
    assert torch.equal(lent(look, net)(probe)[1], net[:3](probe))
    with pytest.raises(Lacking, match="lends no features"):
        look_behind(TwoPixels(), Deployed(TwoPixels()), probe)
    logits, features = lent(None, net)(probe)
    assert (logits.shape, features.shape) == ((4, 2), (4, 0))


def test_attackers_climb_the_stand_in():
    class Steps(nn.Module):
        def forward(self, x):
            return TwoPixels()((x * 10).round() / 10)

    deployed = Deployed(Steps(), attackable=TwoPixels())
    x = torch.rand(5, 1, 1, 2, requires_grad=True)
    watch = Watch(MaxSoftmax(), {}, climbable(deployed, None, 2, needs_features=False))
    (gradient,) = torch.autograd.grad(watch(x).sum(), x)
    assert gradient.abs().sum() > 0
    with pytest.raises(Lacking, match="lends no features"):
        climbable(deployed, None, 2, needs_features=True)


def test_a_class_with_one_image_has_no_spread_to_fit():
    one = Sample(torch.zeros(5, 2), torch.randn(5, 3), torch.tensor([0, 0, 0, 0, 1]))
    with pytest.raises(BadValue, match="class 1 has 1 image to fit 1 component on, expected at least 2"):
        ClassMixture().fit(one)
