"""Proofs of single examples: votes on noisy copies, counted, and bounds through the network."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from bench.api import Deployed, Smoothed
from bench.core.seeds import seed_for
from bench.core.threat import Budget
from bench.evaluate.batches import Batches
from bench.evaluate.referee import not_numbers
from bench.nn.bounds.crown import Bounds
from bench.nn.bounds.steps import NotBounded, Steps
from bench.nn.smoothed import deploy_smoothed
from bench.studies.certify.plan import CertifySpec

PIECE = 100
"""Noisy copies that are drawn together: the same numbers in every device batch."""

GROUP = 8
"""Images whose bounds are computed together: their coefficients fill the memory."""

SLACK = 1e-5
"""How far a margin must lie above 0, in units of the largest logit: networks answer in single precision."""

VOTES, GRADIENT_SAMPLES = 100, 16
"""Of a network that --sigma smooths, as the defense gaussian has them."""


MOST_NEURONS = 50_000
"""Of one image, that linear relaxations are tried on."""


class TooMany(Exception):
    """Why relaxations are not tried on a network; in one clause."""


class CannotProve(Exception):
    """Why nothing can be proven of a deployed defense by a method; in one clause, and what to type."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def to_attack(spec: CertifySpec, deployed: Deployed) -> Deployed:
    """What is certified and attacked: the defense, or its network behind noise where the user asked for that.

    Raises:
        CannotProve: the method knows nothing of such a defense.
    """
    if spec.sampling is None:
        if deployed.randomized:
            raise CannotProve(
                "is randomized, and bounds are of networks that answer the same each time",
                "--method smoothing --norm L2 --eps 0.5, of a defense that votes on noisy images",
            )
        return deployed
    if spec.sampling.sigma is None:
        if deployed.smoothed is None:
            raise CannotProve(
                "does not vote on noisy images, so smoothing needs to be told of a noise", "--sigma 0.25"
            )
        return deployed
    if deployed.randomized or deployed.detector is not None or deployed.suspicion is not None:
        raise CannotProve(
            "draws or refuses by itself, and smoothing is of a network that does neither", "no --sigma"
        )
    return deploy_smoothed(deployed.predict, float(spec.sampling.sigma), VOTES, GRADIENT_SAMPLES)


def bounded(network: nn.Module) -> Steps:
    """A network's steps in eval mode and double precision, for bounds.

    Raises:
        NotBounded: they cannot follow it.
    """
    return Steps(copy.deepcopy(network).eval().requires_grad_(False).double())


def require_bounds(steps: Steps, x: Tensor, budget: Budget, tight: bool) -> None:
    """Try bounds on images x [n, C, H, W].

    Raises:
        NotBounded: they cannot follow the network.
        TooMany: relaxations of it would take days.
    """
    with torch.no_grad():
        found = Bounds(steps, x.double(), budget, tight=False)
    if tight and found.neurons > MOST_NEURONS:
        raise TooMany(
            f"has {found.neurons:,} neurons, and crown bounds each through all before it, expected at most "
            f"{MOST_NEURONS:,}"
        )


@torch.no_grad()
def margins(steps: Steps, x: Tensor, y: Tensor, budget: Budget, tight: bool) -> Tensor:
    """Lower bounds [n] of the margin of labels y over all images within a budget of x, less a rounding.

    Above 0: no image there is classified otherwise.
    """
    found = []
    for images, labels in zip(torch.split(x.double(), GROUP), torch.split(y, GROUP), strict=True):
        bounds = Bounds(steps, images, budget, tight)
        found.append(bounds.margins(labels) - SLACK * (1 + bounds.logits.abs().amax(1)))
    return torch.cat(found)


@torch.no_grad()
def votes(
    smoothed: Smoothed,
    x: Tensor,
    ids: Sequence[int],
    copies: int,
    stream: tuple[int | str, ...],
    batches: Batches,
) -> NDArray[np.int64]:
    """Counts [n, K] of the classes that so many noisy copies of each image x [n, C, H, W] are given.

    The noise is each example's own, named by the stream and its id, whatever the device batch.
    """

    def classes(noisy: Tensor) -> Tensor:
        logits: Tensor = smoothed.network(noisy)
        voted = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1])
        return voted * ~not_numbers(logits)[:, None]

    counts = []
    for image, number in zip(x, ids, strict=True):
        generator = Generator(x.device).manual_seed(seed_for(*stream, number))
        told: Tensor | int = 0
        for start in range(0, copies, PIECE):
            many = min(PIECE, copies - start)
            noise = torch.randn(PIECE, *image.shape, generator=generator, device=x.device, dtype=x.dtype)[
                :many
            ]
            told = told + batches.map(classes, image + smoothed.sigma * noise).sum(0)
        counts.append(told)
    return torch.stack([torch.as_tensor(held) for held in counts]).cpu().numpy().astype(np.int64)


__all__ = [
    "CannotProve",
    "NotBounded",
    "TooMany",
    "bounded",
    "margins",
    "require_bounds",
    "to_attack",
    "votes",
]
