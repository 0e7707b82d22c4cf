"""How well a score tells two kinds of images apart; a higher score speaks for the kind that is looked for.

Rates, areas and their intervals are fractions. Positives are what a detector is to find (adversarial images,
or wrong answers), negatives are what it should let pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Scores = NDArray[np.float64]

Z = float(ndtri(0.975))


@dataclass(frozen=True)
class Auroc:
    """The area under a ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RocCurve:
    """A ROC curve: the rates after each threshold, from none found to all."""

    false_positives: NDArray[np.float64]  # [s], ascending from 0 to 1
    true_positives: NDArray[np.float64]  # [s]


def auroc(
    positives: Scores,
    negatives: Scores,
    positive_ids: NDArray[np.int64] | None = None,
    negative_ids: NDArray[np.int64] | None = None,
) -> Auroc:
    """The chance that a positive scores higher than a negative, ties counting one half.

    The variance is that of DeLong, DeLong & Clarke-Pearson (Biometrics 1988), in the form that Obuchowski
    (Biometrics 1997) gives for clustered data: scores with the same id are of one image, clean and attacked,
    and not independent; without ids all are. The interval is symmetric on the scale of log odds. Where the
    two are separated without an exception, that variance is 0 and would claim certainty: there it is
    Newcombe's interval (Statistics in Medicine 2006, method 5), from Hanley and McNeil's variance.

    >>> round(auroc(np.array([3.0, 2.0, 2.0]), np.array([1.0, 2.0])).value, 4)
    0.8333
    """
    if not len(positives) or not len(negatives):
        raise ValueError("an area under a ROC curve needs positives and negatives")
    found, missed = _placements(positives, negatives)
    value = float(found.mean())
    if not 0 < value < 1:
        return Auroc(value, *_without_exception(value, len(positives), len(negatives)))
    ids = np.arange(len(positives) + len(negatives))
    of_positives = ids[: len(positives)] if positive_ids is None else positive_ids
    of_negatives = ids[len(positives) :] if negative_ids is None else negative_ids
    error = math.sqrt(_variance(found - value, missed - value, of_positives, of_negatives))
    odds, half = math.log(value / (1 - value)), Z * error / (value * (1 - value))
    return Auroc(value, _logistic(odds - half), _logistic(odds + half))


def average_precision(positives: Scores, negatives: Scores) -> float:
    """The area under the curve of precision against recall, as the sum of steps without interpolation.

    >>> round(average_precision(np.array([3.0, 1.0]), np.array([2.0])), 4)
    0.8333
    """
    found, flagged = _counts(positives, negatives)
    recall = np.diff(np.concatenate([[0], found])) / len(positives)
    return float((recall * found / flagged).sum())


def false_positives_at(positives: Scores, negatives: Scores, share: float = 0.95) -> float:
    """The share of negatives that is flagged by the highest threshold that finds that share of positives.

    >>> false_positives_at(np.array([5.0, 4.0, 3.0, 0.0]), np.array([4.5, 1.0]), share=0.75)
    0.5
    """
    found, flagged = _counts(positives, negatives)
    enough = int(np.argmax(found >= share * len(positives) - 1e-9))
    return float((flagged[enough] - found[enough]) / len(negatives))


def roc(positives: Scores, negatives: Scores) -> RocCurve:
    """The curve through every distinct threshold."""
    found, flagged = _counts(positives, negatives)
    return RocCurve(
        np.concatenate([[0.0], (flagged - found) / len(negatives)]),
        np.concatenate([[0.0], found / len(positives)]),
    )


def threshold_at(negatives: Scores, rate: float) -> float:
    """The lowest of these scores that at most this share of them exceeds; what is above it is refused.

    >>> threshold_at(np.arange(100.0), 0.05)
    94.0
    """
    if not len(negatives):
        raise ValueError("a threshold needs scores")
    if not 0 <= rate < 1:
        raise ValueError(f"the false-positive rate is {rate}, expected a share in [0, 1)")
    allowed = math.floor(rate * len(negatives) + 1e-9)
    return float(np.sort(negatives)[len(negatives) - 1 - allowed])


def _placements(positives: Scores, negatives: Scores) -> tuple[Scores, Scores]:
    """For each positive the share of negatives below it, for each negative that of positives above it."""
    from scipy.stats import rankdata  # slow to load

    m, n = len(positives), len(negatives)
    ranks = rankdata(np.concatenate([positives, negatives]))
    found = (ranks[:m] - rankdata(positives)) / n
    missed = 1 - (ranks[m:] - rankdata(negatives)) / m
    return found, missed


def _variance(
    found: Scores, missed: Scores, of_positives: NDArray[np.int64], of_negatives: NDArray[np.int64]
) -> float:
    """Obuchowski's, from deviations of the placements summed over each image."""
    images, place = np.unique(np.concatenate([of_positives, of_negatives]), return_inverse=True)
    a = np.bincount(place[: len(found)], found, len(images))
    b = np.bincount(place[len(found) :], missed, len(images))
    m, n = len(found), len(missed)
    with_positive, with_negative = len(np.unique(of_positives)), len(np.unique(of_negatives))
    total = _widened(with_positive) * (a @ a) / m**2 + _widened(with_negative) * (b @ b) / n**2
    both = 2 * _widened(len(images)) * (a @ b) / (m * n)
    return max(0.0, float(total + both))


def _widened(count: int) -> float:
    return count / (count - 1) if count > 1 else 1.0


def _without_exception(value: float, m: int, n: int) -> tuple[float, float]:
    """Where |value - area| = z sqrt(V(area)) with Hanley and McNeil's V, by bisection."""
    more = (m + n) / 2 - 1

    def apart(area: float) -> float:  # of a perfect order, mirrored for a perfectly wrong one
        spread = area * (1 - area) * (1 + more * (1 - area) / (2 - area) + more * area / (1 + area))
        return 1 - area - Z * math.sqrt(spread / (m * n))

    low, high = 0.0, 1.0 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if apart(middle) > 0 else (low, middle)
    return (low, 1.0) if value == 1 else (0.0, 1 - low)


def _counts(positives: Scores, negatives: Scores) -> tuple[Scores, Scores]:
    """Positives found and images flagged in all at each distinct threshold, from the highest."""
    if not len(positives) or not len(negatives):
        raise ValueError("rates need positives and negatives")
    scores = np.concatenate([positives, negatives])
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return np.cumsum(order < len(positives))[last].astype(np.float64), last + 1.0


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
