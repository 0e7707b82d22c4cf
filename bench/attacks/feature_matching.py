"""Feature matching: make the features of an image those of another (Sabour, Cao, Faghri & Fleet, ICLR 2016).

"Adversarial Manipulation of Deep Representations". Tramèr, Carlini, Brendel & Madry (NeurIPS 2020) use it
where logits mislead: what is the same before the last layer is the same after it, whatever that layer does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, FeatureLoss, Features, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.combine import Attempt, attack_standing
from bench.attacks.fast import climbed
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_count
from bench.core.threat import LINF_L2, Budget, Norm


@dataclass(frozen=True)
class Resemblance(FeatureLoss):
    """Minus the mean squared distance to the features of a guide [n, D]: 0 where they are the same."""

    def __call__(self, answer: Features, guide: Tensor) -> Tensor:
        """[n]."""
        return -(answer.features.float().flatten(1) - guide).square().mean(dim=1)


@dataclass(frozen=True)
class FeatureMatching(Attack):
    """Climb towards the features of one guide after another, on what still stands.

    Guides are clean images of the same chunk, right when clean, of other classes: for each class the one with
    the nearest features, the nearest class first. Alone, or among images of one class, there is no guide, and
    the image is returned as it was. Costs one query, and `steps` gradients for each guide.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"
    of_features: ClassVar[bool] = True

    steps: int = 100
    guides: int = 3
    random_start: bool = False

    def __post_init__(self) -> None:
        require_count("FeatureMatching", "steps", self.steps)
        require_count("FeatureMatching", "guides", self.guides)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        features = oracle.features(x)

        def towards(guides: Tensor) -> Attempt:
            def attempt(held: Oracle, rows: Tensor) -> Tensor:
                start = x[rows]
                if self.random_start:
                    start = geometry.random_start(start, budget, generator)
                target = features[guides[rows]]
                return climbed(held, Resemblance(), (target,), start, x[rows], budget, self.steps)

            return attempt

        ranked = nearest_of_each_class(features, y)[:, : self.guides]
        return attack_standing(oracle, x, y, [towards(guides) for guides in ranked.unbind(dim=1)])


def nearest_of_each_class(features: Tensor, y: Tensor) -> Tensor:
    """For each example the nearest one of every other class that occurs, the nearest class first.

    Of features [n, D] and labels [n]; positions among the n, [n, classes - 1].
    """
    apart = torch.cdist(features, features)
    labels = torch.tensor(sorted(set(y.tolist())), device=y.device)
    nearest = [apart.masked_fill(y != label, torch.inf).min(dim=1) for label in labels]
    if len(nearest) < 2:
        return torch.empty(len(y), 0, dtype=torch.int64, device=y.device)
    distance = torch.stack([found.values for found in nearest], dim=1)
    guide = torch.stack([found.indices for found in nearest], dim=1)
    own = y[:, None] == labels[None]
    order = distance.masked_fill(own, torch.inf).argsort(dim=1, stable=True)[:, :-1]  # its own class is last
    return guide.gather(1, order)
