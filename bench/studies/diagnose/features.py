"""What papers draw of a network, as arrays: attention, the space of its features, how many of them count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.evaluate.batches import Batches
from bench.evaluate.look import Lacking, Look
from bench.studies.diagnose.record import Method

Array = NDArray[np.float64]

TINY = 1e-12
"""Keeps divisors from zero."""

COVERED = 0.9
"""The share of all positive contributions that contributing features make: N_90."""


@dataclass(frozen=True)
class Seen:
    """What a network makes of n images."""

    logits: Array  # [n, K]
    features: Array  # [n, D]
    stages: int  # how many feature maps the network lends
    attention: Array | None  # [n, H', W'] of the asked stage's map; None: there is no such stage


@torch.no_grad()
def see(look: Look, x: Tensor, batches: Batches, stage: int = -1) -> Seen:
    """Logits, features and attention of images [n, C, H, W]; the attention is that of one stage's map."""
    stages = len(look.features(x[:1]).stages)
    mapped = -stages <= stage < stages

    def parts(images: Tensor) -> tuple[Tensor, ...]:
        found = look.features(images)
        given = (found.logits.float(), found.features.flatten(1).float())
        return (*given, attention_map(found.stages[stage])) if mapped else given

    arrays = [part.double().cpu().numpy() for part in batches.map_many(parts, x)]
    return Seen(arrays[0], arrays[1], stages, arrays[2] if mapped else None)


def attention_map(feature_map: Tensor) -> Tensor:
    """Channel sums of a feature map [n, C', H', W'], scaled to [0, 1] for each image: [n, H', W'].

    A constant map is all zeros.

    >>> attention_map(torch.tensor([[[[0.0, 1.0], [2.0, 1.0]], [[1.0, 0.0], [1.0, 4.0]]]]))
    tensor([[[0.0000, 0.0000],
             [0.5000, 1.0000]]])
    """
    sums = feature_map.float().sum(dim=1)
    low = sums.amin(dim=(1, 2), keepdim=True)
    return (sums - low) / ((sums - low).amax(dim=(1, 2), keepdim=True) + TINY)


def contributions(features: Array, weight: Array, labels: NDArray[np.int64]) -> Array:
    """What each feature adds to the logit of the label: h_j W[y, j], [n, D].

    >>> contributions(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, -6.0]]), np.array([1])).tolist()
    [[5.0, -12.0]]
    """
    return features * weight[labels]


def contributing(found: Array, share: float = COVERED) -> NDArray[np.int64]:
    """How many of the largest positive contributions [n, D] make that share of their sum, [n]; 0 of none.

    >>> contributing(np.array([[6.0, 3.0, 1.0, -5.0], [1.0, 1.0, 1.0, 1.0], [-1.0, 0.0, 0.0, 0.0]])).tolist()
    [2, 4, 0]
    """
    covered = _covered(found)
    short: NDArray[np.int64] = (covered < share - TINY).sum(axis=1)
    return np.where(covered[:, -1] > 0, short + 1, 0)


def coverage(found: Array) -> Array:
    """The mean share of positive contributions [n, D] that the largest 1, 2, ..., D make, [D].

    Examples without any positive one are left out; where all are, the shares are zero.

    >>> coverage(np.array([[6.0, 3.0, 1.0, -5.0], [-1.0, 0.0, 0.0, 0.0]])).round(6).tolist()
    [0.6, 0.9, 1.0, 1.0]
    """
    covered = _covered(found)
    some = covered[:, -1] > 0
    mean: Array = covered[some].mean(axis=0) if some.any() else np.zeros(found.shape[1])
    return mean


def nearest_mean(features: Array, clean: Array, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row of `features` is nearest to the mean of its own class, [m].

    Class means are those of the clean features, for each example without its own clean image; m counts the
    examples whose class has another one. Distances are Euclidean.

    >>> clean = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> nearest_mean(np.array([[0.0], [9.0], [9.0], [10.0]]), clean, np.array([0, 0, 1, 1])).tolist()
    [True, False, True, True]
    """
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(classes), clean.shape[1]))
    np.add.at(sums, place, clean)
    means = sums / counts[:, None]
    squares = (features**2).sum(1)[:, None] - 2 * features @ means.T + (means**2).sum(1)
    several = np.flatnonzero(counts[place] > 1)
    own = place[several]
    others = (sums[own] - clean[several]) / (counts[own] - 1)[:, None]
    squares[several, own] = ((features[several] - others) ** 2).sum(1)
    nearest: NDArray[np.bool_] = squares[several].argmin(axis=1) == own
    return nearest


def silhouette(features: Array, labels: NDArray[np.int64]) -> float | None:
    """Rousseeuw's mean silhouette of the classes (1987), from -1 to 1; None where it is not defined."""
    from sklearn.metrics import silhouette_score

    classes = len(np.unique(labels))
    return float(silhouette_score(features, labels)) if 2 <= classes < len(labels) else None


def embedding(features: Array, method: Method, seed: int) -> tuple[Array, tuple[float, float] | None]:
    """Features [m, D] in the plane, [m, 2], and for PCA the share of the variance that each axis has."""
    if features.shape[1] < 2:
        raise Lacking("a single feature spans no plane")
    if method == "pca":
        from sklearn.decomposition import PCA

        with np.errstate(invalid="ignore"):  # equal features have no variance to share
            axes = PCA(2, svd_solver="full").fit(features)
        one, two = (float(share) for share in np.nan_to_num(axes.explained_variance_ratio_))
        return axes.transform(features), (one, two)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    plane = TSNE(2, init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)
    return plane.astype(np.float64), None


def _covered(found: Array) -> Array:
    """The share of all positive contributions that the largest 1, 2, ..., D make, [n, D]; zeros of none."""
    positive = np.sort(np.maximum(found, 0), axis=1)[:, ::-1].cumsum(axis=1)
    total = positive[:, -1:]
    shares: Array = np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
    return shares
