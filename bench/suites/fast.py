"""A cascade that reaches AutoAttack's verdicts with few of its passes, and goes on where it might not.

The ladder and the probe always run. Where the probe breaks nothing of 50 examples or more that the ladder
left, the siege is skipped, and the record says how many were probed and how many may have been missed.
"""

from __future__ import annotations

from bench.api import Suite, Trial
from bench.attacks.fast import Ladder, Probe, Siege
from bench.core.threat import WHITE_BOX
from bench.evaluate.follow_up import FollowUp

FAST = Suite(
    name="fast",
    version=1,
    trials=(
        Trial("ladder", Ladder(), WHITE_BOX),
        FollowUp("probe", Probe(), WHITE_BOX),
        FollowUp("siege", Siege(), WHITE_BOX, gate="probe"),
    ),
)
