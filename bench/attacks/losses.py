"""What attacks climb: one loss for each example, higher is closer to a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.api import Loss
from bench.core.outcomes import REFUSED

LossName = Literal["cross_entropy", "margin", "probability_margin", "dlr"]
TargetedLossName = Literal["targeted_cross_entropy", "targeted_margin", "targeted_dlr"]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log p_y, [n]."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The largest wrong logit minus that of y, [n]: positive where misclassified.

    The loss that the field calls "CW" (Carlini & Wagner, S&P 2017).
    """
    return _wrong(logits, y).amax(1) - _of(logits, y)


def probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """The largest wrong probability minus that of y, [n], in [-1, 1].

    Written with q = 1 - p_y, so that the gradient of a confident network does not round to zero.
    """
    wrong = _wrong(logits, y)
    all_wrong = wrong.logsumexp(1)
    q = torch.sigmoid(all_wrong - _of(logits, y))
    share = (wrong.amax(1) - all_wrong).exp()
    return q * (1 + share) - 1


def lead_of_all(logits: Tensor, y: Tensor) -> Tensor:
    """log sum exp of the wrong logits minus that of y, [n]: the logit of 1 - p_y."""
    return _wrong(logits, y).logsumexp(1) - _of(logits, y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The difference of logits ratio: the margin over the gap between first and third logit, [n].

    Croce & Hein, ICML 2020, equation 6. Two classes have no third logit: there it is the margin.
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_cross_entropy(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """log p_target, [n]; y plays no part."""
    return -cross_entropy(logits, target)


def towards(logits: Tensor, target: Tensor) -> Tensor:
    """log p_target, [n], where the labels that an attack is given are its targets: for training."""
    return -cross_entropy(logits, target)


def targeted_margin(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The logit of the target minus that of y, [n]."""
    return _of(logits, target) - _of(logits, y)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The targeted margin over the gap between the first logit and the mean of third and fourth, [n].

    Croce & Hein, ICML 2020, equation 7. With three classes the third stands for that mean; with two there is
    nothing to divide by, and it is the targeted margin.
    """
    if logits.shape[1] < 3:
        return targeted_margin(logits, y, target)
    top = logits.topk(min(4, logits.shape[1]), dim=1).values
    return targeted_margin(logits, y, target) / (top[:, 0] - top[:, 2:].mean(1) + 1e-12)


LEAST_CLASSES: Mapping[str, int] = {"dlr": 3, "targeted_dlr": 4}
"""How many classes a loss takes at least as it was published; the others take two."""


def stands_in(loss: str, classes: int) -> str | None:
    """What of ours stands in for a loss that so few classes leave undefined; None: it is defined.

    >>> stands_in("targeted_dlr", 3), stands_in("targeted_dlr", 10)
    ('the targeted margin over the gap between the first logit and the third', None)
    """
    if classes >= LEAST_CLASSES.get(loss, 2):
        return None
    margin_of = f"the {loss.replace('dlr', 'margin').replace('_', ' ')}"
    return margin_of if classes < 3 else f"{margin_of} over the gap between the first logit and the third"


LOSSES: Mapping[str, Loss] = {
    "cross_entropy": cross_entropy,
    "margin": margin,
    "probability_margin": probability_margin,
    "dlr": dlr,
}
"""Called as loss(logits, y)."""

TARGETED_LOSSES: Mapping[str, Loss] = {
    "targeted_cross_entropy": targeted_cross_entropy,
    "targeted_margin": targeted_margin,
    "targeted_dlr": targeted_dlr,
}
"""Called as loss(logits, y, target)."""


def most_confusing(logits: Tensor, y: Tensor, rank: int = 1) -> Tensor:
    """The rank-th likeliest wrong class [n], never y; rank K - 1 is the least likely."""
    return _wrong(logits, y).topk(rank, dim=1).indices[:, -1]


def fooled(labels: Tensor, y: Tensor) -> Tensor:
    """[n] bool: the answer is a wrong class; to be refused by a detector is no success."""
    return (labels != y) & (labels != REFUSED)


def _of(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y.unsqueeze(1)).squeeze(1)


def _wrong(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(1, y.unsqueeze(1), -torch.inf)
