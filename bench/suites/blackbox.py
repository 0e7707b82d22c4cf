"""Attackers who know the data only: transfer from another architecture, and 5,000 queries for scores."""

from __future__ import annotations

from fractions import Fraction

from bench.api import Suite, Trial
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import SCORES, TRANSFER

BLACKBOX = Suite(
    name="blackbox",
    version=1,
    trials=(
        Trial("transfer_pgd", PGD(steps=100, step_size=Fraction(1, 10)), TRANSFER),
        Trial("transfer_mi_fgsm", MIFGSM(steps=20, step_size=Fraction(1, 10), decay=1.0), TRANSFER),
        Trial("square", Square(queries=5000), SCORES),
    ),
)
