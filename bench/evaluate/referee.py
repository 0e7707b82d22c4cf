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
from bench.nn.tf32 import tf32

TOLERANCE = 1e-6
"""How far beyond budget or box, in pixel units, float rounding may carry a candidate."""


@dataclass(frozen=True)
class Verdict:
    """What the referee found for m candidates."""

    x: Tensor  # [m, C, H, W] the judged images, inside budget and box
    classes: Tensor  # [m] int64, or REFUSED; the number of classes where the answer was not a number
    agreed: Tensor  # [m] share of the draws that gave this class; 1 unless the defense is randomized
    moved: Tensor  # [m] bool: the candidate lay outside and was projected
    invalid: Tensor  # [m] bool: the candidate held NaN or infinity, and the clean image was judged


class Referee:
    """Judges candidates against the deployed defense in eval mode, full precision, without gradients.

    A randomized defense is judged by the most frequent class of `draws` independent answers; of classes that
    are as frequent, the one that was answered first, which favours nobody.
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
        return self._vote(x)[0]

    def judge(self, candidate: Tensor, clean: Tensor) -> Verdict:
        """Project candidates [m, C, H, W] to budget and box around their clean images, and classify them."""
        candidate = candidate.detach().to(clean.dtype)
        invalid = ~candidate.flatten(1).isfinite().all(dim=1)
        candidate = torch.where(invalid[:, None, None, None], clean, candidate)
        x = project(candidate, clean, self.budget)
        moved = (x - candidate).flatten(1).abs().amax(dim=1) > TOLERANCE
        return Verdict(x, *self._vote(x), moved, invalid)

    def distance(self, x: Tensor, clean: Tensor) -> Tensor:
        """How far each image was moved [m], in the budget's norm."""
        return distance(x, clean, self.budget.norm)

    @tf32(False)
    @torch.no_grad()
    def _vote(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classes [m] and the share of draws behind each."""
        if len(x) == 0:
            return torch.empty(0, dtype=torch.int64, device=x.device), x.new_empty(0)
        votes = torch.stack([self.batches.map(self._answer, x) for _ in range(self.draws)])
        if self.draws == 1:
            return votes[0], x.new_ones(len(x))
        counts = (votes[:, None] == votes).sum(dim=1)  # [draws, m]: how many say what this draw says
        most, first = counts.max(dim=0).values, counts.argmax(dim=0)
        return votes.gather(0, first[None])[0], most / self.draws

    def _answer(self, x: Tensor) -> Tensor:
        logits = self.deployed.predict(x)
        classes = torch.where(not_numbers(logits), logits.shape[1], logits.argmax(dim=1))
        refused = turned_away(self.deployed, x)
        return classes if refused is None else torch.where(refused, REFUSED, classes)


def not_numbers(logits: Tensor) -> Tensor:
    """[m] bool: answers [m, K] with a NaN or an infinity, which are never right.

    Single classes at -inf are ruled out by the network, and say nothing against the others.
    """
    return logits.isnan().any(dim=1) | logits.isposinf().any(dim=1) | logits.isneginf().all(dim=1)


def turned_away(deployed: Deployed, x: Tensor) -> Tensor | None:
    """[m] bool: images x [m, C, H, W] that a defense refuses; None: it refuses none.

    By its detector; where it has none, what is suspicious above 0.
    """
    if deployed.detector is not None:
        return deployed.detector(x)
    return None if deployed.suspicion is None else deployed.suspicion(x) > 0


def decision(logits: Tensor) -> Tensor:
    """Classes [m] of logits [m, K], or REFUSED where none is likely: all are -inf."""
    return torch.where(logits.isneginf().all(dim=1), REFUSED, logits.argmax(dim=1))


def fools(classes: Tensor, y: Tensor) -> Tensor:
    """[m] bool: wrong and not refused; turning an attack away is a success of the defense."""
    return (classes != y) & (classes >= 0)
