"""AutoAttack, the reference ensemble: its components in its order, each on what those before it left.

The components, their parameters and their random numbers are pyautoattack's (Croce & Hein, ICML 2020); passes
are counted, and verdicts given, by this harness.
"""

from __future__ import annotations

from bench.api import Suite, Trial
from bench.attacks.others.autoattack import AutoAttackComponent
from bench.core.threat import WHITE_BOX
from bench.evaluate.follow_up import FollowUp

AUTOATTACK = Suite(
    name="autoattack",
    version=1,
    trials=(
        Trial("apgd_ce", AutoAttackComponent("apgd-ce"), WHITE_BOX),
        FollowUp("apgd_t", AutoAttackComponent("apgd-t"), WHITE_BOX),
        FollowUp("fab_t", AutoAttackComponent("fab-t"), WHITE_BOX),
        FollowUp("square", AutoAttackComponent("square"), WHITE_BOX),
    ),
)
"""AutoAttack's standard version: APGD-CE, targeted APGD, targeted FAB, Square."""

AUTOATTACK_PLUS = Suite(
    name="autoattack_plus",
    version=1,
    trials=(
        Trial("apgd_ce", AutoAttackComponent("apgd-ce", "plus"), WHITE_BOX),
        FollowUp("apgd_dlr", AutoAttackComponent("apgd-dlr", "plus"), WHITE_BOX),
        FollowUp("fab", AutoAttackComponent("fab", "plus"), WHITE_BOX),
        FollowUp("square", AutoAttackComponent("square", "plus"), WHITE_BOX),
        FollowUp("apgd_t", AutoAttackComponent("apgd-t", "plus"), WHITE_BOX),
        FollowUp("fab_t", AutoAttackComponent("fab-t", "plus"), WHITE_BOX),
    ),
)
"""AutoAttack's plus version: six components, most with five restarts."""

AUTOATTACK_RAND = Suite(
    name="autoattack_rand",
    version=1,
    trials=(
        Trial("apgd_ce", AutoAttackComponent("apgd-ce", "rand"), WHITE_BOX),
        FollowUp("apgd_dlr", AutoAttackComponent("apgd-dlr", "rand"), WHITE_BOX),
    ),
)
"""AutoAttack's version for randomized defenses: APGD on two losses, gradients averaged over 20 passes."""
