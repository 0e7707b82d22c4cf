"""Attackers who know the recipe, the architecture or the classifier, but not the deployed weights.

They attack a network of their own (never the victim, checked by its weights) and get no answer from the
defense: what fools theirs is judged on the victim once.
"""

from __future__ import annotations

from fractions import Fraction

from bench.api import Suite, Trial
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.pgd import PGD
from bench.core.threat import GRAY_BOX_CLASSIFIER, GRAY_BOX_TWIN, GRAY_BOX_UNDEFENDED

_PGD = PGD(steps=100, step_size=Fraction(1, 10))
_MOMENTUM = MIFGSM(steps=20, step_size=Fraction(1, 10), decay=1.0)

GRAYBOX = Suite(
    name="graybox",
    version=1,
    trials=(
        Trial("classifier_pgd", _PGD, GRAY_BOX_CLASSIFIER),
        Trial("twin_pgd", _PGD, GRAY_BOX_TWIN),
        Trial("twin_mi_fgsm", _MOMENTUM, GRAY_BOX_TWIN),
        Trial("undefended_pgd", _PGD, GRAY_BOX_UNDEFENDED),
        Trial("undefended_mi_fgsm", _MOMENTUM, GRAY_BOX_UNDEFENDED),
    ),
)
