"""A shift: what one defense keeps under common corruptions, and when images are turned and moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.records import recount_studies
from bench.records.heading import STRICT, Heading
from bench.records.kinds import Amount, Count
from bench.records.record import Interval
from bench.records.upgrades import Upgrade, with_networks

SCHEMA = 2

UPGRADES: Mapping[int, Upgrade] = {1: with_networks}
"""Schema -> what makes the next of it."""


MAIN = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur"),
    *("zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate"),
    "jpeg_compression",
)
"""The fifteen corruptions of CIFAR-10-C and ImageNet-C over which everybody's means are."""

SEQUENCES = (
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow", "brightness", "translate"),
    *("rotate", "tilt", "scale"),
)
"""The ten perturbations of CIFAR-10-P."""

OTHERS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four more corruptions, for choosing methods; no mean is over them."""


@dataclass(frozen=True)
class FilesUsed:
    """The corrupted images were others'."""

    __pydantic_config__ = STRICT

    kind: Literal["arrays", "sequences", "pictures"]
    digest: str
    lacking: tuple[str, ...]  # corruptions of the benchmark that were not there


@dataclass(frozen=True)
class Corrupted:
    """One corruption at one severity."""

    __pydantic_config__ = STRICT

    name: str
    group: str
    severity: Count
    accuracy: Interval  # right answers, over all n examples; a refusal is none
    refused: Count  # examples that a detector turned away
    distance: Amount  # mean L2 distance from the clean images


@dataclass(frozen=True)
class Mean:
    """The mean of n examples' own means, with 1.96 standard errors on both sides."""

    __pydantic_config__ = STRICT

    value: float
    low: float
    high: float
    n: Count


@dataclass(frozen=True)
class Posed:
    """Rotations and translations from a grid."""

    __pydantic_config__ = STRICT

    poses: Count
    degrees: float
    pixels: int
    draws: Count  # random poses of each example
    random: Mean  # right answers in these
    worst_of_draws: Interval  # right or refused in each of these
    worst: Interval  # right or refused in every pose of the grid, and as it stands
    shown: Amount  # images shown for the last one, mean per example


@dataclass(frozen=True)
class Perturbed:
    """One perturbation in sequences of frames, each a little farther."""

    __pydantic_config__ = STRICT

    name: str
    group: str
    frames: int
    flips: Mean  # share of frames whose answer is another than the one before; of noise, than the first
    accuracy: Mean  # right answers over all frames


@dataclass(frozen=True, kw_only=True)
class Shift(Heading):
    """One defense under every corruption and severity, and over the grid of poses; no budget bounds these."""

    corrupted: tuple[Corrupted, ...]
    mean: Mean | None  # over all corruptions and severities, of files the fifteen; None: of none
    posed: Posed | None  # None: not asked for
    left_out: tuple[str, ...]  # corruptions that are not defined for such images
    files: FilesUsed | None = None  # None: corruptions were computed here
    perturbed: tuple[Perturbed, ...] = ()
    mean_flips: Mean | None = None  # over the perturbations of the benchmark; None: no sequences

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """Corruptions are drawn."""
        return ("shift",) if self.corrupted else ()

    def why_not(self, kind: str) -> str | None:
        """Poses and sequences alone are no figure."""
        del kind
        alone = "sequences" if self.perturbed else "poses"
        return None if self.corrupted else f"{alone} alone, which are few figures and need no picture"

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions, in their order."""
        return tuple(dict.fromkeys(held.name for held in self.corrupted))

    def of(self, name: str) -> list[Corrupted]:
        """One corruption, by severity."""
        return [held for held in self.corrupted if held.name == name]

    def mean_of(self, name: str) -> float:
        """One corruption's accuracy, averaged over its severities."""
        held = self.of(name)
        return sum(one.accuracy.value for one in held) / len(held)


def mce(found: Shift, baseline: Shift) -> float | None:
    """The mean corruption error, of which the baseline's is 1 (Hendrycks & Dietterich, ICLR 2019).

    Of each corruption of the benchmark, its errors over the severities are summed and divided by the
    baseline's. None where none was measured, or the baseline errs on none of one.
    """
    names = [name for name in found.names if name in MAIN]
    own, theirs = (
        [sum(1 - held.accuracy.value for held in one.of(name)) for name in names] for one in (found, baseline)
    )
    if not names or min(theirs) == 0:
        return None
    return sum(errors / other for errors, other in zip(own, theirs, strict=True)) / len(names)


RECORD = Shift


def contradictions(found: Shift) -> Iterator[str]:
    """One sentence for each thing that a shift says in two ways."""
    yield from recount_studies.contradictions(found)
    shares = {f"corrupted.{at}.accuracy": one.accuracy for at, one in enumerate(found.corrupted)}
    if found.posed is not None:
        shares |= {"posed.worst_of_draws": found.posed.worst_of_draws, "posed.worst": found.posed.worst}
    yield from recount_studies.of_all(found, shares)
    means = {"mean": found.mean, "posed.random": found.posed.random if found.posed is not None else None}
    for name, mean in means.items():
        if mean is not None and (mean.n != found.examples or not 0 <= mean.value <= 1):
            yield f"{name} is {mean.value:g} of {mean.n} examples, expected a share of {found.examples}"


def summary(found: Shift) -> str:
    """A shift in a line."""
    parts = [f"{len(found.names)} corruptions"] if found.corrupted else []
    parts += [f"{len(found.perturbed)} perturbations"] if found.perturbed else []
    parts += [f"of files {found.files.digest}"] if found.files else []
    parts += [f"{found.posed.poses} poses"] if found.posed is not None else []
    where = f"{found.network.defense} on {found.data}, seed {found.seed}, n = {found.examples:,}"
    return f"{where}: {', '.join(parts)}"


def whole(found: Shift, _: Path) -> Shift:
    """Nothing lies beside a shift."""
    return found
