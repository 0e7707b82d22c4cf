"""Areas and rates against scikit-learn, closed forms, and intervals against how often they hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from bench.core.detection import auroc, average_precision, false_positives_at, roc, threshold_at


def drawn(seed=0, m=300, n=200, apart=1.0, digits=None):
    generator = np.random.default_rng(seed)
    positives, negatives = generator.normal(apart, 1, m), generator.normal(0, 1, n)
    return (positives, negatives) if digits is None else (positives.round(digits), negatives.round(digits))


@pytest.mark.parametrize("digits", [None, 1, 0])
def test_areas_and_rates_are_those_of_scikit_learn(digits):
    positives, negatives = drawn(digits=digits)
    truth = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    scores = np.r_[positives, negatives]
    assert auroc(positives, negatives).value == pytest.approx(roc_auc_score(truth, scores))
    assert average_precision(positives, negatives) == pytest.approx(average_precision_score(truth, scores))
    reversed_too = average_precision_score(1 - truth, -scores)
    assert average_precision(-negatives, -positives) == pytest.approx(reversed_too)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    curve = roc(positives, negatives)
    np.testing.assert_allclose(curve.false_positives, false)
    np.testing.assert_allclose(curve.true_positives, true)
    assert false_positives_at(positives, negatives) == pytest.approx(false[np.argmax(true >= 0.95)])


@pytest.mark.parametrize("apart", [0.0, 0.5, 2.0])
def test_two_gaussians_have_the_area_of_their_distance(apart):
    area = auroc(*drawn(m=20000, n=20000, apart=apart))
    assert area.value == pytest.approx(norm.cdf(apart / np.sqrt(2)), abs=0.006)
    assert area.low < norm.cdf(apart / np.sqrt(2)) < area.high


def test_the_interval_is_delongs_where_all_scores_are_independent():
    positives, negatives = drawn()
    kernel = (positives[:, None] > negatives).astype(float)
    variance = kernel.mean(1).var(ddof=1) / len(positives) + kernel.mean(0).var(ddof=1) / len(negatives)
    area = auroc(positives, negatives)
    odds = [np.log(end / (1 - end)) for end in (area.low, area.value, area.high)]
    half = norm.ppf(0.975) * np.sqrt(variance) / (area.value * (1 - area.value))
    np.testing.assert_allclose([odds[1] - odds[0], odds[2] - odds[1]], half)


def paired(seed, n=60, apart=0.8, shared=0.9):
    """Scores of images and of their twins: most of the noise is the image's own."""
    generator = np.random.default_rng(seed)
    own = generator.normal(0, np.sqrt(shared), n)
    rest = generator.normal(0, np.sqrt(1 - shared), (2, n))
    return own + rest[0] + apart, own + rest[1]


def test_intervals_of_paired_images_hold_as_often_as_they_say():
    truth, ids = norm.cdf(0.8 / np.sqrt(2)), np.arange(60)
    held = {"paired": 0, "as if independent": 0}
    width = dict.fromkeys(held, 0.0)
    for seed in range(400):
        positives, negatives = paired(seed)
        for name, known in (("paired", (ids, ids)), ("as if independent", (None, None))):
            area = auroc(positives, negatives, *known)
            held[name] += area.low <= truth <= area.high
            width[name] += area.high - area.low
    assert 0.92 <= held["paired"] / 400 <= 0.98
    assert width["paired"] < 0.75 * width["as if independent"], "the pairing is information"


def test_a_perfect_order_of_few_images_claims_no_certainty():
    area = auroc(np.arange(10.0) + 100, np.arange(10.0))
    assert (area.value, area.high) == (1, 1)
    assert 0.6 < area.low < 0.95
    mirrored = auroc(np.arange(10.0), np.arange(10.0) + 100)
    assert (mirrored.value, mirrored.low) == (0, 0)
    assert mirrored.high == pytest.approx(1 - area.low)
    more = auroc(np.arange(1000.0) + 10000, np.arange(1000.0))
    assert more.low > 0.99


def test_a_score_that_says_nothing_has_half_the_area():
    area = auroc(np.zeros(40), np.zeros(30))
    assert area.value == 0.5
    assert false_positives_at(np.zeros(40), np.zeros(30)) == 1


def test_a_threshold_refuses_at_most_its_share():
    scores = np.random.default_rng(0).normal(size=1003).round(2)
    for rate in (0.0, 0.01, 0.05, 0.5):
        chosen = threshold_at(scores, rate)
        assert (scores > chosen).mean() <= rate
        lower = np.max(scores[scores < chosen])
        assert (scores > lower).mean() > rate, "a lower one would refuse more"


def test_nothing_is_measured_of_nothing():
    for measure in (auroc, average_precision, false_positives_at, roc):
        with pytest.raises(ValueError, match="positives and negatives"):
            measure(np.empty(0), np.ones(3))
    with pytest.raises(ValueError, match="needs scores"):
        threshold_at(np.empty(0), 0.05)
