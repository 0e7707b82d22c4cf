"""Cascades that reach AutoAttack's verdicts with few of its passes, and go on where they might not.

`fast@2` says what it may have missed. A ladder climbs from the clean images; then three attackers look, each
by itself, at what it left: Auto-PGD towards targets, restarts on another loss, random search. How many
examples fell to only one of them tells how many are left to find (bench.core.doubt). Where that is more than
0.2 points, four with more effort look again at what stands, the more the nearer to a mistake.

`fast@1` stays as it was published: ladder and probe always run. Where the probe breaks nothing of 50 examples
or more that the ladder left, the siege is skipped, and the record says how many were probed and how many may
have been missed.
"""

from __future__ import annotations

from bench.api import Suite, Trial
from bench.attacks.fast import Ladder, Probe, Siege
from bench.attacks.scouts import RestartScout, SearchScout, TargetScout
from bench.core.threat import WHITE_BOX
from bench.evaluate.follow_up import FollowUp, Scout

FAST_1 = Suite(
    name="fast",
    version=1,
    trials=(
        Trial("ladder", Ladder(), WHITE_BOX),
        FollowUp("probe", Probe(), WHITE_BOX),
        FollowUp("siege", Siege(), WHITE_BOX, gate="probe"),
    ),
)

LONGER = (
    TargetScout(targets=1, steps=10, rounds=3, finalists=16),
    RestartScout(restarts=1, steps=10, rounds=4),
    SearchScout(climbs=4, queries=20, share=0.8, rounds=5),
    SearchScout(steps=0, queries=20, share=0.8, rounds=5),
)
"""Those who look at what is hard to break; the last asks for scores alone."""

FAST = Suite(
    name="fast",
    version=2,
    trials=(
        Trial("ladder", Ladder(), WHITE_BOX),
        Scout("targets", TargetScout(), WHITE_BOX),
        Scout("restarts", RestartScout(), WHITE_BOX),
        Scout("search", SearchScout(), WHITE_BOX),
        *(
            Scout(f"{name}_2", attack, WHITE_BOX, sweep=2)
            for name, attack in zip(("targets", "restarts", "search", "squares"), LONGER, strict=True)
        ),
    ),
)
