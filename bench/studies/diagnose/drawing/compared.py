"""How the defenses of diagnostics are told apart, and how many can be in one figure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.names import told_apart
from bench.studies.diagnose.record import Diagnosed


def labels(found: Sequence[Diagnosed]) -> list[str]:
    """A name for each, told apart by architecture, seed, budget in training and id only where needed."""
    several = len({one.record.network.architecture for one in found}) > 1
    networks = [one.record.network for one in found]
    return told_apart(
        [f"{one.defense}@{one.architecture}" if several else one.defense for one in networks],
        [f", seed {one.record.seed}" for one in found],
        [f", trained at {one.record.train_budget}" for one in found],
        [f", {one.record.id[:6]}" for one in found],
    )
