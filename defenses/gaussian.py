"""Randomized smoothing: trained on noisy images, deployed as a majority of votes on noisy copies.

Cohen, Rosenfeld, Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019, arXiv
1902.02918. `bench certify` gives each image the L2 radius within which the votes of infinitely many copies
cannot change; what is deployed has finitely many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from bench.api import Batch, Defense, Deployed, FitContext, Task, Terms
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.smoothed import deploy_smoothed
from bench.train.loop import fit_classifier


@dataclass(frozen=True)
class Gaussian:
    """Minimise CE(z(x + e), y), e ~ N(0, sigma^2 I), one draw for each image; nothing is clipped.

    The answer to x is the class with most votes among `votes` noisy copies. White-box attackers climb the
    mean of probabilities over `samples` copies (Salman et al., NeurIPS 2019), since votes have no slope.
    """

    paper: ClassVar[str] = (
        "Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019"
    )
    reconstruction: ClassVar[str | None] = None
    certificate: ClassVar[str] = "smoothing"

    sigma: float = 0.25  # of the noise in training and in deployment, in pixel units; the authors': 0.12 to 1
    votes: int = 100  # copies behind one answer
    samples: int = 16  # copies behind one gradient of an attacker

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise BadValue(f"sigma is {self.sigma}, expected a number above 0", "sigma=0.25")
        for name in ("votes", "samples"):
            if getattr(self, name) < 1:
                raise BadValue(f"{name} is {getattr(self, name)}, expected at least 1", f"{name}=100")

    @property
    def requires(self) -> Mapping[str, str]:
        """Nothing is trained before."""
        return {}

    def build(self, task: Task) -> nn.Module:
        """The bare classifier."""
        return network(task)

    def fit(self, net: nn.Module, context: FitContext) -> None:
        """Train in place; the last epoch stays, for accuracy on clean images says little about noisy ones."""

        def step(model: nn.Module, batch: Batch) -> Terms:
            noise = torch.empty_like(batch.x).normal_(generator=context.generator)
            return {"noisy": F.cross_entropy(model(batch.x + self.sigma * noise).float(), batch.y)}

        fit_classifier(net, context, step, keep="last")

    def deploy(self, net: nn.Module) -> Deployed:
        """The votes of the classifier on noisy images."""
        return deploy_smoothed(net, self.sigma, self.votes, self.samples)


_: Defense = Gaussian()
