"""Attackers who see everything: from noise to the two parameter-free attacks that most verdicts hang on.

The example-wise worst case over the columns is the suite's number. `cw` is the margin loss of Carlini and
Wagner (S&P 2017) climbed by PGD, as the field's tables mean it.
"""

from __future__ import annotations

from fractions import Fraction

from bench.api import Suite, Trial
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.combine import Restarts
from bench.attacks.fgsm import FGSM
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX

WHITEBOX = Suite(
    name="whitebox",
    version=1,
    trials=(
        Trial("noise", UniformNoise(draws=10), WHITE_BOX),
        Trial("fgsm", FGSM(), WHITE_BOX),
        Trial("pgd_20", PGD(steps=20, step_size=Fraction(1, 4)), WHITE_BOX),
        Trial("pgd_100x5", Restarts(PGD(steps=100, step_size=Fraction(1, 10)), times=5), WHITE_BOX),
        Trial("cw_100", PGD(steps=100, step_size=Fraction(1, 10), loss="margin"), WHITE_BOX),
        Trial("mi_fgsm_20", MIFGSM(steps=20, step_size=Fraction(1, 10), decay=1.0), WHITE_BOX),
        Trial("apgd_ce", APGD(steps=100, loss="cross_entropy"), WHITE_BOX),
        Trial("apgd_t", TargetedAPGD(steps=100, targets=9), WHITE_BOX),
    ),
)
