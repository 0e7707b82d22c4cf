"""A minute's check that a defense runs at all: too weak for any claim."""

from __future__ import annotations

from fractions import Fraction

from bench.api import Suite, Trial
from bench.attacks.fgsm import FGSM
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX

SMOKE = Suite(
    name="smoke",
    version=1,
    trials=(
        Trial("noise", UniformNoise(draws=3), WHITE_BOX),
        Trial("fgsm", FGSM(), WHITE_BOX),
        Trial("pgd_10", PGD(steps=10, step_size=Fraction(1, 4)), WHITE_BOX),
    ),
    examples=100,
)
