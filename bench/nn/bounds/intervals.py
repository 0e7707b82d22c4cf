"""Intervals through a network: interval bound propagation.

Gowal, Dvijotham, Stanforth, Bunel, Qin, Uesato, Arandjelovic, Mann, Kohli, "On the Effectiveness of Interval
Bound Propagation for Training Verifiably Robust Models", 2018, arXiv 1810.12715. An affine step maps the
centre of a box and, by the absolute values of its weights, its radius; one that never falls maps both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.threat import Budget, Norm
from bench.nn.bounds.steps import NotBounded, Step, Steps


@dataclass(frozen=True)
class Span:
    """What a step's values lie between."""

    low: Tensor  # [n, ...]
    high: Tensor

    @property
    def centre(self) -> Tensor:
        """The middle."""
        return (self.low + self.high) / 2

    @property
    def radius(self) -> Tensor:
        """Half of the width, at least 0."""
        return (self.high - self.low) / 2


def box_around(x: Tensor, budget: Budget, share: float = 1.0) -> Span:
    """The least box of images in [0, 1] that holds a share of the budget around x [n, C, H, W].

    Under Linf it is the budget; an L2 or L1 ball lies in the Linf ball of its radius; under L0 any value may
    be anything.
    """
    eps = 1.0 if budget.norm is Norm.L0 and budget.eps else share * float(budget.eps)
    return Span((x - eps).clamp(min=0), (x + eps).clamp(max=1))


def through(step: Step, *spans: Span) -> Span:
    """What the values of a step lie between, for the spans of its sources."""
    if step.spread is None:
        return Span(step.apply(*(span.low for span in spans)), step.apply(*(span.high for span in spans)))
    centre = step.apply(*(span.centre for span in spans))
    radius = step.spread(*(span.radius for span in spans))
    return Span(centre - radius, centre + radius)


def worst_logits(steps: Steps, x: Tensor, y: Tensor, images: Span) -> tuple[Tensor, Tensor]:
    """Logits [n, K] of x, and the worst that an image in a box might be given, less that of its label y.

    The worst of a class is an upper bound of its logit less that of the label, so the label's own is 0. Where
    the last step is a linear layer, its weights are subtracted first (the paper's elision of the last layer),
    which is tighter.

    Raises:
        NotBounded: intervals cannot follow the network.
    """
    spans = {"": images}
    before: Step | None = None
    for step in steps.on(x):
        if before is not None:
            spans[before.name] = through(before, *(spans[source] for source in before.sources))
        before = step
    if before is None:
        raise NotBounded("it has no step that depends on the images")
    found = [spans[source] for source in before.sources]
    layer = before.apply
    if not isinstance(layer, nn.Linear):
        ends = through(before, *found)
        worst = ends.high - ends.low.gather(1, y[:, None])
        return before.value, worst.scatter(1, y[:, None], 0.0)
    weight = layer.weight - layer.weight[y][:, None]  # [n, K, D]
    worst = torch.einsum("nkd,nd->nk", weight, found[0].centre)
    worst = worst + torch.einsum("nkd,nd->nk", weight.abs(), found[0].radius)
    if layer.bias is not None:
        worst = worst + layer.bias - layer.bias[y][:, None]
    return before.value, worst
