"""What attacks that ask about images outside the budget remember: the projection that broke an example."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Climb, Loss, Oracle
from bench.attacks.geometry import projector
from bench.core.threat import Budget, Feedback
from bench.core.traits import CLIMBS_VICTIM


class Witness:
    """Passes questions on to an oracle and remembers, for each example, the image that broke it.

    The referee judges the projection of what was asked. So where an attack asks about a neighbour, a
    transformed copy or the far end of a ray, its iterate is not what succeeded: `or_else` is.
    """

    def __init__(self, oracle: Oracle, x: Tensor, budget: Budget) -> None:
        self._oracle, self._project = oracle, projector(x, budget)
        self._image, self._known = x.clone(), oracle.broken()
        climbs_victim = oracle.knowledge.gradients in CLIMBS_VICTIM
        self._silent = oracle.knowledge.feedback is Feedback.NOTHING and not climbs_victim

    def broken(self) -> Tensor:
        """[n] bool: confirmed by the oracle."""
        return self._oracle.broken()

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        """As the oracle's."""
        climb = self._oracle.climb(loss, x, *labels)
        self._note(x)
        return climb

    def logits(self, x: Tensor) -> Tensor:
        """As the oracle's."""
        logits = self._oracle.logits(x)
        self._note(x)
        return logits

    def labels(self, x: Tensor) -> Tensor:
        """As the oracle's."""
        labels = self._oracle.labels(x)
        self._note(x)
        return labels

    def or_else(self, x_adv: Tensor) -> Tensor:
        """What broke each example, and `x_adv` [n, C, H, W], projected, for the others."""
        return torch.where(self._known[:, None, None, None], self._image, self._project(x_adv))

    def _note(self, asked: Tensor) -> None:
        if self._silent:
            return
        broken = self._oracle.broken()  # asked each time: an oracle may look at its answers only now and then
        fresh = (broken & ~self._known)[:, None, None, None]
        self._image = torch.where(fresh, self._project(asked), self._image)
        self._known = broken
