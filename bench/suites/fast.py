"""Cascades that reach AutoAttack's verdicts with few of its passes, and go on where they might not.

`fast@2` says what it may have missed. A ladder climbs from the clean images; then three attackers look, each
by itself, at what it left: Auto-PGD towards targets, restarts on another loss, random search. How many
examples fell to only one of them tells how many are left to find (bench.core.doubt). Where that is more than
0.2 points, three with more effort look again at what stands, the more the nearer to a mistake.

`fast@1`, which is `fast` until both are compared on more networks: ladder and probe always run. Where the
probe breaks nothing of 50 examples or more that the ladder left, the siege is skipped, and the record says
how many were probed and how many may have been missed.
"""

from __future__ import annotations

from bench.api import Suite, Trial
from bench.attacks.fast import Ladder, Probe, Siege
from bench.attacks.scouts import RestartScout, SearchScout, TargetScout
from bench.core.threat import WHITE_BOX
from bench.evaluate.follow_up import FollowUp, Scout

FAST = Suite(
    name="fast",
    version=1,
    trials=(
        Trial("ladder", Ladder(), WHITE_BOX),
        FollowUp("probe", Probe(), WHITE_BOX),
        FollowUp("siege", Siege(), WHITE_BOX, gate="probe"),
    ),
)

FAST_2 = Suite(
    name="fast",
    version=2,
    trials=(
        Trial("ladder", Ladder(), WHITE_BOX),
        Scout("targets", TargetScout(), WHITE_BOX),
        Scout("restarts", RestartScout(), WHITE_BOX),
        Scout("search", SearchScout(), WHITE_BOX),
        Scout("targets_2", TargetScout(targets=2, steps=20, rounds=4), WHITE_BOX, sweep=2),
        Scout("restarts_2", RestartScout(restarts=2, steps=15, rounds=4), WHITE_BOX, sweep=2),
        Scout("search_2", SearchScout(queries=100, share=0.3, rounds=5), WHITE_BOX, sweep=2),
    ),
)
