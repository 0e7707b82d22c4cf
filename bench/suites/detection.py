"""Detectors against images of attacks that they never saw, and of one attacker who knows them.

Every detector is fitted on clean training images, its threshold is chosen on clean validation images, and the
test images choose nothing. The first trials make images to the last step, whatever is broken by then; the
last one attacks the defense and each detector together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from bench.api import Suite, Trial
from bench.attacks.aware import DetectorAware
from bench.attacks.combine import Cascade
from bench.attacks.fgsm import FGSM
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX
from bench.evaluate.detectors import (
    ClassMixture,
    Detector,
    Energy,
    KNearest,
    LocalDimension,
    Mahalanobis,
    MaxSoftmax,
)

AWARE = "aware"
"""The column of the attacker who knows the detector."""

DETECTORS: Mapping[str, Detector] = {
    "max_softmax": MaxSoftmax(),
    "energy": Energy(),
    "mahalanobis": Mahalanobis(),
    "knn": KNearest(),
    "lid": LocalDimension(),
    "gmm_1": ClassMixture(components=1),
    "gmm_10": ClassMixture(components=10),
}
"""By the name of their row."""

_AWARE = Cascade((DetectorAware(rule="orthogonal"), DetectorAware(rule="selective")))
"""Selective steps on what orthogonal ones leave: against max_softmax, whose gradient is nearly that of the
margin, orthogonality takes all of it away."""

DETECTION = Suite(
    name="detection",
    version=1,
    trials=(
        Trial("fgsm", FGSM(), WHITE_BOX),
        Trial("pgd_20", PGD(steps=20, step_size=Fraction(1, 4)), WHITE_BOX),
        Trial("cw_100", PGD(steps=100, step_size=Fraction(1, 10), loss="margin"), WHITE_BOX),
        Trial(AWARE, _AWARE, WHITE_BOX),
    ),
)


@dataclass(frozen=True)
class Protocol:
    """What a detection suite does besides attacking."""

    detectors: Mapping[str, Detector] = field(default_factory=lambda: dict(DETECTORS))
    false_positives: Fraction = Fraction(1, 20)  # of clean validation images: where thresholds stand
    fit_examples: int = 10_000  # clean training images, the first so many of a fixed shuffle


@dataclass(frozen=True)
class PublishedAuroc:
    """An AUROC that a paper states, correct against misclassified."""

    auroc: float
    source: str
    reconstruction: str  # what of the protocol is not stated


_TLA = "Mao et al., NeurIPS 2019, ROC legends of the poster"
_GUESSED = (
    "the detector is not in their code: taken to be Gaussian mixtures of each class on penultimate features, "
    "after Zheng & Hong, scored under the predicted class, on clean and PGD images together; components, "
    "covariance, attack and network are guessed"
)

COMPARED = ("gmm_1", "pgd_20", "wrong")
"""Detector, attack and task of ours that stand beside a published figure."""

PUBLISHED: Mapping[tuple[str, str], PublishedAuroc] = {
    (data, defense): PublishedAuroc(auroc, _TLA, _GUESSED)
    for data, figures in {
        "mnist": {"standard": 0.9483, "pgd_at": 0.9125, "alp": 0.8977, "tla": 0.9494},
        "cifar10": {"standard": 0.2395, "pgd_at": 0.6107, "alp": 0.6315, "tla": 0.6960},
    }.items()
    for defense, auroc in figures.items()
}
"""(data set, defense) -> what was published of it."""

Task = Literal["adversarial", "wrong"]
"""Adversarial against clean images, or wrong against right answers to both together."""
