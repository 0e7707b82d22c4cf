"""Attackers who were told what the defense does: end to end, past its purifier, its noise and its detector.

What does not apply to a defense is skipped, says why, and costs nothing. Gradients of a randomized defense
are means over EOT samples in every white-box column. The search on scores needs no gradients, so it finds
those that mislead; the last column is the attacker who does not know what stands around the classifier.
"""

from __future__ import annotations

from fractions import Fraction

from bench.api import Suite, Trial
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.aware import DetectorAware
from bench.attacks.combine import Restarts
from bench.attacks.feature_matching import FeatureMatching
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import GRAY_BOX_CLASSIFIER, SCORES, WHITE_BOX, WHITE_BOX_BPDA

_OWN = PGD(steps=100, step_size=Fraction(1, 4), loss="adaptive", schedule="cosine")

ADAPTIVE = Suite(
    name="adaptive",
    version=1,
    trials=(
        Trial("apgd_margin", APGD(steps=100, loss="margin"), WHITE_BOX),
        Trial("apgd_t", TargetedAPGD(steps=100, targets=9), WHITE_BOX),
        Trial("bpda_apgd_margin", APGD(steps=100, loss="margin"), WHITE_BOX_BPDA),
        Trial("bpda_apgd_t", TargetedAPGD(steps=100, targets=3), WHITE_BOX_BPDA),
        Trial("own_loss", Restarts(_OWN, times=3), WHITE_BOX),
        Trial("features", FeatureMatching(steps=100, guides=3), WHITE_BOX),
        Trial("aware_selective", Restarts(DetectorAware(steps=100, rule="selective"), times=3), WHITE_BOX),
        Trial("aware_orthogonal", Restarts(DetectorAware(steps=100), times=3), WHITE_BOX),
        Trial("square", Square(queries=1000), SCORES),
        Trial("classifier_apgd", APGD(steps=100, loss="margin"), GRAY_BOX_CLASSIFIER),
    ),
)
