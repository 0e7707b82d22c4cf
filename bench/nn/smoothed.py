"""A network behind noise: the votes of randomized smoothing, and what an attacker can differentiate of them.

Cohen, Rosenfeld, Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019, arXiv
1902.02918. The mean of probabilities that is attacked: Salman, Yang, Li, Zhang, Zhang, Razenshteyn, Bubeck,
"Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers", NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bench.api import Deployed, Smoothed

ROWS = 256
"""Noisy images that pass the network together."""


class NoisyVotes(nn.Module):
    """Logits [n, K]: the logarithm of each class's share of votes, every class given one vote besides."""

    def __init__(self, network: nn.Module, sigma: float, votes: int) -> None:
        super().__init__()
        self.network, self.sigma, self.votes = network, sigma, votes

    def forward(self, x: Tensor) -> Tensor:
        """Logits of x [n, C, H, W]; noise from torch's generator."""
        counts: Tensor | None = None
        for logits in _noisy_logits(self.network, x, self.sigma, self.votes):  # [r, n, K] each
            ones = torch.zeros_like(logits).scatter_(2, logits.argmax(2, keepdim=True), 1.0).sum(0)
            counts = ones if counts is None else counts + ones
        assert counts is not None
        return ((counts + 1) / (self.votes + counts.shape[1])).log()


class NoisyMean(nn.Module):
    """Logits [n, K]: the logarithm of the mean of a network's probabilities on noisy images."""

    def __init__(self, network: nn.Module, sigma: float, samples: int) -> None:
        super().__init__()
        self.network, self.sigma, self.samples = network, sigma, samples

    def forward(self, x: Tensor) -> Tensor:
        """Logits of x [n, C, H, W], differentiable; noise from torch's generator."""
        parts = _noisy_logits(self.network, x, self.sigma, self.samples)
        told = torch.cat([logits.log_softmax(2) for logits in parts])
        mean: Tensor = told.logsumexp(0) - torch.tensor(float(self.samples)).log().to(told)
        return mean


def deploy_smoothed(network: nn.Module, sigma: float, votes: int, samples: int) -> Deployed:
    """A network as its own smoothed classifier of so many votes; gradients are of so many samples."""
    return Deployed(
        predict=NoisyVotes(network, sigma, votes),
        attackable=NoisyMean(network, sigma, samples),
        randomized=True,
        eot_samples=1,  # its mean is of enough samples itself
        smoothed=Smoothed(network, sigma),
    )


def _noisy_logits(network: nn.Module, x: Tensor, sigma: float, draws: int) -> Iterator[Tensor]:
    """Logits [r, n, K] of x [n, C, H, W] behind r draws of noise each, until all draws are made."""
    together = max(1, ROWS // max(1, len(x)))
    for start in range(0, draws, together):
        many = min(together, draws - start)
        rows = x.expand(many, *x.shape)
        noisy = (rows + sigma * torch.randn_like(rows)).flatten(0, 1)
        logits: Tensor = network(noisy).float()
        yield logits.view(many, len(x), -1)
