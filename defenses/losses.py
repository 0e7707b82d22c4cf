"""Terms that defenses share; every loss is a scalar unless it says otherwise, and computed in float32."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.errors import BadValue

Smoothing = Literal["shared", "spread"]
"""Where label smoothing s puts its mass.

`shared`: the true class gets 1 - s, every other s / (K - 1) (AGKD-BML, Feature Scattering).
`spread`: the true class gets 1 - s + s / K, every other s / K (TensorFlow, PyTorch's `label_smoothing`).
"""


def smoothed_cross_entropy(logits: Tensor, y: Tensor, smoothing: float, convention: Smoothing) -> Tensor:
    """Cross-entropy of logits [B, K] against smoothed labels, mean over the batch.

    >>> z = torch.zeros(1, 10)
    >>> round(smoothed_cross_entropy(z, torch.tensor([3]), 0.5, "shared").item(), 6)  # ln 10
    2.302585
    """
    logits = logits.float()
    if convention == "spread" or smoothing == 0:
        return F.cross_entropy(logits, y, label_smoothing=smoothing)
    return soft_cross_entropy(logits, smoothed_labels(y, logits.shape[1], smoothing, convention))


def smoothed_labels(y: Tensor, num_classes: int, smoothing: float, convention: Smoothing) -> Tensor:
    """The label distributions [B, K] of either convention; rows sum to one.

    Raises BadValue where the true class would get no more than another: of two classes at 0.5, `shared`.

    >>> smoothed_labels(torch.tensor([0]), 3, 0.5, "shared")
    tensor([[0.5000, 0.2500, 0.2500]])
    """
    others = smoothing / (num_classes - 1 if convention == "shared" else num_classes)
    true = 1 - smoothing + (0.0 if convention == "shared" else others)
    if true <= others:
        raise BadValue(
            f"label smoothing of {smoothing:g} gives every one of {num_classes} classes as much as the true "
            f"one, so that nothing can be learnt, expected less than {1 - 1 / num_classes:.3g}",
            "--set defense.label_smoothing=0.1",
        )
    labels = torch.full((len(y), num_classes), others, device=y.device)
    return labels.scatter_(1, y[:, None], true)


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy against label distributions [B, K], mean over the batch."""
    return -(labels * logits.float().log_softmax(dim=1)).sum(dim=1).mean()


def angular_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - |cos(a, b)| for each row of [B, D] -> [B]; antiparallel vectors have distance 0 (TLA, AGKD-BML).

    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> angular_distance(a, b).item(), angular_distance(a, -a).item()
    (1.0, 0.0)
    """
    return 1 - F.cosine_similarity(a.float(), b.float(), dim=1).abs()


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """mean_i [margin + d(anchor_i, positive_i) - d(anchor_i, negative_i)]_+ with the angular distance.

    >>> a = torch.tensor([[1.0, 0.0]])
    >>> round(triplet(a, a, a, 0.03).item(), 6)
    0.03
    """
    return F.relu(margin + angular_distance(anchor, positive) - angular_distance(anchor, negative)).mean()


def feature_norm(*features: Tensor) -> Tensor:
    """Sum over the given [B, D] of their mean squared entries (TLA, AGKD-BML).

    >>> feature_norm(torch.ones(4, 7), torch.ones(4, 7), torch.ones(4, 7)).item()
    3.0
    """
    return torch.stack([part.float().square().mean() for part in features]).sum()


def attention_map(feature_map: Tensor) -> Tensor:
    """Class-irrelevant attention of AGKD-BML: channel sums [B, H, W], scaled to [0, 1] for each image.

    The divisor is kept from 0 by 1e-12, so a constant map is all zeros.

    >>> attention_map(torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]]))
    tensor([[[0.0000, 0.2500],
             [0.5000, 1.0000]]])
    """
    summed = feature_map.float().sum(dim=1)
    flat = summed.flatten(1)
    shifted = flat - flat.amin(dim=1, keepdim=True)
    return (shifted / (shifted.amax(dim=1, keepdim=True) + 1e-12)).view_as(summed)


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of two maps' attention, each [B, C', H, W]; the teacher's is detached."""
    return (attention_map(student) - attention_map(teacher.detach())).abs().mean()


def boosted_margin(logits_adv: Tensor, y: Tensor) -> Tensor:
    """MART's margin part: -mean log(1.0001 - p_c(x') + 1e-12), c the likeliest wrong class of x'."""
    p = logits_adv.float().softmax(dim=1)
    wrong = p.scatter(1, y[:, None], -1.0).amax(dim=1)
    return -(1.0001 - wrong + 1e-12).log().mean()


def weighted_divergence(logits: Tensor, logits_adv: Tensor, y: Tensor) -> Tensor:
    """MART's robust part: mean KL(p(x) || p(x')) (1.0000001 - p_y(x)); gradients reach both branches."""
    p = logits.float().softmax(dim=1)
    unsure = 1.0000001 - p.gather(1, y[:, None]).squeeze(1)
    return (divergence(logits, logits_adv) * unsure).mean()


def divergence(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """KL(p(x) || p(x')) for each row [B] (the direction of TRADES and MART).

    >>> z = torch.tensor([[1.0, 2.0]])
    >>> divergence(z, z).item()
    0.0
    """
    log_p, log_q = logits.float().log_softmax(dim=1), logits_adv.float().log_softmax(dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def away(logits_adv: Tensor, logits: Tensor) -> Tensor:
    """What TRADES and its kin climb, [n]: KL(p(x) || p(x')), for logits [n, K] of x' and fixed ones of x."""
    return divergence(logits, logits_adv)


def logit_pairing(a: Tensor, b: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Squared distance of logits [B, K]: mean over the batch, mean or sum over the classes (ALP).

    >>> logit_pairing(torch.zeros(4, 10), torch.ones(4, 10), "sum").item()
    10.0
    """
    squares = (a.float() - b.float()).square()
    return (squares.mean(dim=1) if reduction == "mean" else squares.sum(dim=1)).mean()


def hardest_negatives(anchors: Tensor, pool: Tensor, y: Tensor, pool_y: Tensor) -> Tensor:
    """For each anchor [B, D] the position [B] in a pool [P, D] of the nearest row of another class (TLA).

    Near by the signed cosine. Where the pool has no other class, the position means nothing.

    >>> a, pool = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> hardest_negatives(a, pool, torch.tensor([0]), torch.tensor([0, 1, 1])).tolist()
    [1]
    """
    similar = F.normalize(anchors.float(), dim=1) @ F.normalize(pool.float(), dim=1).T
    return similar.masked_fill(y[:, None] == pool_y[None, :], -torch.inf).argmax(dim=1)


def noisy(x: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Images [B, C, H, W] with Gaussian noise, clipped to valid pixels (on MNIST as Mosbach et al. do)."""
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.add(x, noise, alpha=sigma).clamp_(0, 1)
