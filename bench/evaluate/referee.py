"""The referee: it alone decides whether an image is inside the budget and whether it fools the defense."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Deployed
from bench.attacks.geometry import distance, project
from bench.core.outcomes import REFUSED
from bench.core.threat import Budget
from bench.evaluate.batches import Batches

TOLERANCE = 1e-6
"""How far beyond budget or box, in pixel units, float rounding may carry a candidate."""


@dataclass(frozen=True)
class Verdict:
    """What the referee found for m candidates."""

    x: Tensor  # [m, C, H, W] the judged images, inside budget and box
    classes: Tensor  # [m] int64, or REFUSED
    moved: Tensor  # [m] bool: the candidate lay outside and was projected
    invalid: Tensor  # [m] bool: the candidate held NaN or infinity, and the clean image was judged


class Referee:
    """Judges candidates against the deployed defense in eval mode, full precision, without gradients.

    A randomized defense is judged by the most frequent class of `draws` independent answers.
    """

    def __init__(self, deployed: Deployed, budget: Budget, batches: Batches, draws: int = 9) -> None:
        self.deployed = deployed
        self.budget = budget
        self.batches = batches
        self.draws = draws if deployed.randomized else 1
        deployed.predict.eval()

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The class of each image [m], or REFUSED where the detector turns it away."""
        if len(x) == 0:
            return torch.empty(0, dtype=torch.int64, device=x.device)
        votes = torch.stack([self.batches.map(self._answer, x) for _ in range(self.draws)])
        return votes[0] if self.draws == 1 else votes.mode(dim=0).values

    def judge(self, candidate: Tensor, clean: Tensor) -> Verdict:
        """Project candidates [m, C, H, W] to budget and box around their clean images, and classify them."""
        candidate = candidate.detach().to(clean.dtype)
        invalid = ~candidate.flatten(1).isfinite().all(dim=1)
        candidate = torch.where(invalid[:, None, None, None], clean, candidate)
        x = project(candidate, clean, self.budget)
        moved = (x - candidate).flatten(1).abs().amax(dim=1) > TOLERANCE
        return Verdict(x, self.classify(x), moved, invalid)

    def distance(self, x: Tensor, clean: Tensor) -> Tensor:
        """How far each image was moved [m], in the budget's norm."""
        return distance(x, clean, self.budget.norm)

    def _answer(self, x: Tensor) -> Tensor:
        classes: Tensor = self.deployed.predict(x).argmax(dim=1)
        if self.deployed.detector is not None:
            classes = torch.where(self.deployed.detector(x), REFUSED, classes)
        elif self.deployed.suspicion is not None:
            classes = torch.where(self.deployed.suspicion(x) > 0, REFUSED, classes)
        return classes
