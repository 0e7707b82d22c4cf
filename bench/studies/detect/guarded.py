"""A deployed defense with a detector put before it, so that the usual engine and referee judge both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.api import Deployed
from bench.evaluate.detectors import Detector, Fitted
from bench.evaluate.look import Look, last_layers

Given = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images [n, C, H, W] -> logits [n, K] and penultimate features [n, D] of one forward pass."""


@dataclass(frozen=True)
class Watch:
    """A fitted detector on a network; images [n, C, H, W] -> suspicion [n], double precision."""

    detector: Detector
    fitted: Fitted
    given: Given

    def __call__(self, x: Tensor) -> Tensor:
        """Higher is more suspicious."""
        logits, features = self.given(x)
        return self.detector.suspicion(self.fitted, logits.double(), features.double())


def lent(look: Look | None, network: nn.Module) -> Given:
    """Logits and features where they can be seen, else the logits alone with features [n, 0]."""

    def given(x: Tensor) -> tuple[Tensor, Tensor]:
        if look is None:
            logits: Tensor = network(x)
            return logits, logits.new_empty(len(x), 0)
        seen = look.features(x)
        return seen.logits, seen.features.flatten(1)

    return given


def climbable(deployed: Deployed, look: Look | None, num_classes: int, needs_features: bool) -> Given:
    """The same where gradients come back: through the stand-in that the defense offers, if it offers one.

    Raises:
        Lacking: the stand-in lends no features, and they are needed.
    """
    stand_in = deployed.attackable
    if stand_in is None:
        return lent(look, deployed.predict)
    return lent(last_layers(stand_in, num_classes) if needs_features else None, stand_in)


def guarded(
    deployed: Deployed,
    watch: Callable[[Tensor], Tensor],
    climbed: Callable[[Tensor], Tensor],
    threshold: float,
) -> Deployed:
    """The defense that refuses what is more suspicious than the threshold, besides what it refuses itself.

    `watch` decides; `climbed` is the same for attackers, who differentiate it.
    """
    own, own_suspicion = deployed.detector, deployed.suspicion

    @torch.no_grad()
    def refused(x: Tensor) -> Tensor:
        found = watch(x) > threshold
        if own is not None:
            return found | own(x)
        return found if own_suspicion is None else found | (own_suspicion(x) > 0)

    def suspicion(x: Tensor) -> Tensor:
        beyond = climbed(x) - threshold
        return beyond if own_suspicion is None else torch.maximum(beyond, own_suspicion(x))

    return replace(deployed, detector=refused, suspicion=suspicion)
