"""Attackers who see everything: from noise to the two parameter-free attacks that most verdicts hang on.

The example-wise worst case over the columns is the suite's number. `cw` is the margin loss of Carlini and
Wagner (S&P 2017) climbed by PGD, as the field's tables mean it.

`whitebox@2` ends with four that look, each by itself, at what all before them left: so it knows what it may
have missed (bench.core.doubt). Two of them search at random, one by scores alone: who knows everything may
also query. `whitebox@1` stays as it was published.
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
from bench.evaluate.follow_up import Scout
from bench.suites.fast import LONGER

WHITEBOX_1 = Suite(
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

WHITEBOX = Suite(
    name="whitebox",
    version=2,
    trials=(
        *WHITEBOX_1.trials,
        *(
            Scout(name, attack, WHITE_BOX)
            for name, attack in zip(("targets", "restarts", "search", "squares"), LONGER, strict=True)
        ),
    ),
)
