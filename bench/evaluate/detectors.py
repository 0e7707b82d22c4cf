"""Detectors of adversarial images and of wrong answers: what each fits on clean images, and its suspicion.

A suspicion is one number for each image, higher where the image looks more like an attack, differentiable
with respect to logits and features, so that an attacker who knows the detector can climb down from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BadValue

Fitted = Mapping[str, Tensor]
"""What a detector learned, in double precision: plain arrays that a store can keep."""

_TINY = 1e-12


@dataclass(frozen=True)
class Sample:
    """What the network makes of n clean training images."""

    logits: Tensor  # [n, K]
    features: Tensor  # [n, D], penultimate; [n, 0] where the network lends none
    labels: Tensor  # [n] true classes


@runtime_checkable
class Detector(Protocol):
    """A frozen dataclass whose fields are its parameters."""

    paper: ClassVar[str]
    needs_features: ClassVar[bool]

    def fit(self, sample: Sample) -> Fitted:
        """What there is to learn from clean training images; nothing random that a seed does not fix."""

    def suspicion(self, fitted: Fitted, logits: Tensor, features: Tensor) -> Tensor:
        """[n], higher where more suspicious, of logits [n, K] and features [n, D] in double precision."""


@dataclass(frozen=True)
class MaxSoftmax:
    """The log odds against the predicted class, which order images as 1 - max p does and never saturate."""

    paper: ClassVar[str] = "Hendrycks & Gimpel, ICLR 2017"
    needs_features: ClassVar[bool] = False

    def fit(self, sample: Sample) -> Fitted:
        """Nothing."""
        return {}

    def suspicion(self, fitted: Fitted, logits: Tensor, features: Tensor) -> Tensor:
        """log((1 - p) / p) of the largest probability p."""
        top, best = logits.max(dim=1, keepdim=True)
        return logits.scatter(1, best, -torch.inf).logsumexp(dim=1) - top.squeeze(1)


@dataclass(frozen=True)
class Energy:
    """The free energy of the logits, -T log sum exp(z / T)."""

    paper: ClassVar[str] = "Liu, Wang, Owens & Li, NeurIPS 2020"
    needs_features: ClassVar[bool] = False

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("Energy", "temperature", self.temperature)

    def fit(self, sample: Sample) -> Fitted:
        """Nothing."""
        return {}

    def suspicion(self, fitted: Fitted, logits: Tensor, features: Tensor) -> Tensor:
        """The energy itself: a confident network has it low."""
        return -self.temperature * (logits / self.temperature).logsumexp(dim=1)


@dataclass(frozen=True)
class Mahalanobis:
    """The distance to the nearest class, under one covariance for all classes.

    Of penultimate features alone, without the input noise and the regression over layers of the paper, which
    are tuned on the attack that is to be found.
    """

    paper: ClassVar[str] = "Lee, Lee, Lee & Shin, NeurIPS 2018"
    needs_features: ClassVar[bool] = True

    ridge: float = 1e-6  # of the mean variance, added to every variance: dead features have none

    def __post_init__(self) -> None:
        _require_positive("Mahalanobis", "ridge", self.ridge, or_zero=True)

    def fit(self, sample: Sample) -> Fitted:
        """Class means [K, D], and the factor [D, D] that whitens what is left."""
        features, classes = sample.features.double(), _classes(sample)
        means = torch.stack([features[sample.labels == label].mean(dim=0) for label in classes])
        centred = features - means[sample.labels]
        covariance = centred.T @ centred / len(features)
        floor = self.ridge * covariance.diagonal().mean() + _TINY
        factor = torch.linalg.cholesky(covariance + floor * torch.eye(len(covariance)).to(covariance))
        white = torch.linalg.inv(factor).T
        return {"means": means @ white, "white": white}

    def suspicion(self, fitted: Fitted, logits: Tensor, features: Tensor) -> Tensor:
        """The squared distance to the nearest class mean."""
        return _squares(features @ fitted["white"], fitted["means"]).amin(dim=1)


@dataclass(frozen=True)
class KNearest:
    """The squared distance to the k-th nearest training image, of features scaled to length 1."""

    paper: ClassVar[str] = "Sun, Ming, Zhu & Li, ICML 2022"
    needs_features: ClassVar[bool] = True

    k: int = 5
    bank: int = 2000  # training images to be near to; the paper: all, k = 50 of 50,000, or a share of both

    def __post_init__(self) -> None:
        _require_positive("KNearest", "k", self.k)
        _require_positive("KNearest", "bank", self.bank)

    def fit(self, sample: Sample) -> Fitted:
        """The features themselves."""
        bank = sample.features[: self.bank].double()
        _require_enough("KNearest", self.k, bank)
        return {"bank": F.normalize(bank, dim=1)}

    def suspicion(self, fitted: Fitted, logits: Tensor, features: Tensor) -> Tensor:
        """In [0, 4]."""
        squares = _squares(F.normalize(features, dim=1), fitted["bank"])
        return squares.topk(self.k, dim=1, largest=False).values[:, -1]


@dataclass(frozen=True)
class LocalDimension:
    """The local intrinsic dimensionality around an image, by its k nearest training images.

    Of penultimate features and without the regression over layers of the paper, which is trained on attacks.
    """

    paper: ClassVar[str] = "Ma et al., ICLR 2018"
    needs_features: ClassVar[bool] = True

    k: int = 20
    bank: int = 2000  # training images to be near to; the paper: each minibatch of 100

    def __post_init__(self) -> None:
        if self.k < 2:
            raise BadValue(f"LocalDimension.k is {self.k}, expected at least 2 neighbours", "k=20")
        _require_positive("LocalDimension", "bank", self.bank)

    def fit(self, sample: Sample) -> Fitted:
        """The features themselves."""
        bank = sample.features[: self.bank].double()
        _require_enough("LocalDimension", self.k, bank)
        return {"bank": bank}

    def suspicion(self, fitted: Fitted, logits: Tensor, features: Tensor) -> Tensor:
        """-1 / mean log(r_i / r_k), their equation 4."""
        squares = _squares(features, fitted["bank"]).topk(self.k, dim=1, largest=False).values
        logs = squares.clamp_min(_TINY).log()
        return 2 / (logs[:, -1:] - logs).mean(dim=1).clamp_min(_TINY)


@dataclass(frozen=True)
class ClassMixture:
    """A mixture of Gaussians for each class; a low density under the predicted class's is suspicious."""

    paper: ClassVar[str] = "Zheng & Hong, NeurIPS 2018"
    needs_features: ClassVar[bool] = True

    components: int = 1
    ridge: float = 1e-3  # of the mean variance, added to every variance
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive("ClassMixture", "components", self.components)
        _require_positive("ClassMixture", "ridge", self.ridge)

    def fit(self, sample: Sample) -> Fitted:
        """Log weights [K, C], means and standard deviations [K, C, D], by EM with diagonal covariances."""
        from sklearn.mixture import GaussianMixture

        features, labels = sample.features.double().cpu().numpy(), sample.labels.cpu().numpy()
        floor = self.ridge * float(features.var(axis=0).mean()) + _TINY
        parts = []
        for label in _classes(sample):
            own = features[labels == label]
            mixture = GaussianMixture(
                self.components, covariance_type="diag", reg_covar=floor, random_state=self.seed
            )
            least = max(2, self.components)  # one image has no spread
            if len(own) < least:
                raise BadValue(
                    f"class {label} has {len(own)} image{'s' * (len(own) > 1)} to fit {self.components} "
                    f"component{'s' * (self.components > 1)} on, expected at least {least}",
                    "bench detect without this detector",
                )
            parts.append(mixture.fit(own))
        to = sample.features.device
        logs = torch.stack([torch.as_tensor(part.weights_).log() for part in parts])
        means = torch.stack([torch.as_tensor(part.means_) for part in parts])
        spread = torch.stack([torch.as_tensor(part.covariances_).sqrt() for part in parts])
        return {"log_weights": logs.to(to), "means": means.to(to), "spread": spread.to(to)}

    def suspicion(self, fitted: Fitted, logits: Tensor, features: Tensor) -> Tensor:
        """-log density of the features."""
        label = logits.argmax(dim=1)
        spread = fitted["spread"][label]
        apart = (features[:, None] - fitted["means"][label]) / spread  # [n, C, D]
        constant = spread.log().sum(dim=2) + 0.5 * features.shape[1] * math.log(2 * math.pi)
        densities = fitted["log_weights"][label] - constant - 0.5 * apart.square().sum(dim=2)
        return -densities.logsumexp(dim=1)


def _classes(sample: Sample) -> range:
    """Every class, once each has an image."""
    count = sample.logits.shape[1]
    missing = torch.nonzero(torch.bincount(sample.labels, minlength=count) == 0)
    if len(missing):
        raise BadValue(
            f"class {int(missing[0])} has no image among the {len(sample.labels)} that detectors are fitted "
            "on, expected one of each",
            f"--fit-examples {10 * len(sample.labels)}",
        )
    return range(count)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances [n, m]; never below zero."""
    squares = a.square().sum(dim=1)[:, None] - 2 * a @ b.T + b.square().sum(dim=1)
    return squares.clamp_min(0)


def _require_positive(kind: str, name: str, value: float, or_zero: bool = False) -> None:
    if not (value > 0 or (or_zero and value == 0)):
        least = "of at least 0" if or_zero else "above 0"
        raise BadValue(f"{kind}.{name} is {value}, expected a number {least}", f"{name}=1")


def _require_enough(kind: str, k: int, bank: Tensor) -> None:
    if len(bank) < k:
        raise BadValue(f"{kind}.k is {k} and there are {len(bank)} images to be near to, expected at least k")


_: tuple[Detector, ...] = (
    *(MaxSoftmax(), Energy(), Mahalanobis(), KNearest(), LocalDimension(), ClassMixture()),
)
