"""What detectors find: how well each tells attacks from clean images, and what its threshold is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.records import documents, recount_studies
from bench.records.arrays import Arrays, packed
from bench.records.heading import STRICT, Heading
from bench.records.kinds import Count, Sha256
from bench.records.record import Interval, Training
from bench.records.upgrades import Upgrade, with_networks

SCHEMA = 2

UPGRADES: Mapping[int, Upgrade] = {1: with_networks}
"""Schema -> what makes the next of it."""

SCORES = "scores.npz"
"""The file beside the record."""

Calibration = Literal["validation", "test", "training"]
"""Held-out training images; test images that are not judged; what others may have trained the network on."""


@dataclass(frozen=True)
class Area:
    """An area under a ROC curve with its 95 % interval; a fraction."""

    __pydantic_config__ = STRICT

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Separation:
    """One detector on one attack's images in one task; positives are what it is to find."""

    __pydantic_config__ = STRICT

    detector: str
    attack: str
    task: Literal["adversarial", "wrong"]  # adversarial against clean; wrong against right, both together
    images: Literal["all", "successes"]  # all adversarial images, or those that fooled the network
    positives: Count
    negatives: Count
    auroc: Area | None  # None: positives or negatives are missing
    aupr: float | None  # average precision of finding the positives
    aupr_negatives: float | None  # and of finding the negatives, by the same score reversed
    fpr95: float | None  # negatives flagged where 95 % of the positives are


@dataclass(frozen=True)
class Guard:
    """A detector with its threshold before the network; success of an attack is wrong and accepted."""

    __pydantic_config__ = STRICT

    detector: str
    fitted: str  # with every parameter, and the paper
    threshold: float  # of the suspicion; chosen on clean images that are not judged, alone
    validation_refused: Interval  # of those images
    clean_refused: Interval  # of the clean test images
    clean: Interval  # right and accepted
    robust: Mapping[str, Interval]  # attack -> right and accepted when clean, then right or refused
    aware: Interval | None  # the same under the attacker who knows it; None: left out, and why below
    worst: Interval  # over all attacks, the aware one included
    left_out: str | None = None


@dataclass(frozen=True)
class Attacked:
    """Images that no detector was fitted on."""

    __pydantic_config__ = STRICT

    name: str
    attack: str  # with every parameter
    knowledge: str
    robust: Interval  # of the network without any detector, under these very images


@dataclass(frozen=True)
class Claimed:
    """A published figure, beside which one of ours stands."""

    __pydantic_config__ = STRICT

    auroc: float
    source: str
    reconstruction: str | None  # what of the protocol had to be guessed
    detector: str
    attack: str
    task: str


@dataclass(frozen=True, kw_only=True)
class Detection(Heading):
    """One defense with every detector."""

    suite: str  # detection@1
    custom: bool  # attacks, detectors or protocol differ from what is published
    fit_examples: Count  # clean training images that detectors are fitted on
    validation_examples: Count  # clean images that thresholds are chosen on
    false_positives: str  # the share of those that a threshold may refuse
    attacks: tuple[Attacked, ...]
    aware_attack: str  # with every parameter, and what it climbs
    guards: tuple[Guard, ...]
    separations: tuple[Separation, ...]
    claim: Claimed | None
    left_out: Mapping[str, str]  # detector -> why there is none of it
    training: Training
    scores_sha256: Sha256  # of the file of all scores beside the record
    chosen_on: Calibration = "validation"  # where the clean images lie that thresholds are chosen on

    def separation(self, detector: str, attack: str, task: str, images: str = "all") -> Separation:
        """The one of these names; KeyError where there is none."""
        for held in self.separations:
            if (held.detector, held.attack, held.task, held.images) == (detector, attack, task, images):
                return held
        raise KeyError(f"{detector}, {attack}, {task}, {images}")


@dataclass(frozen=True)
class Scores:
    """What the network and every detector say to one set of n images."""

    ids: NDArray[np.int64]  # [n] positions in their split
    labels: NDArray[np.int64]  # [n]
    classes: NDArray[np.int64]  # [n] predicted, or REFUSED by a detector of the defense's own
    scores: NDArray[np.float64]  # [d, n] suspicions, detectors in the record's order

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name, as a cell holds them."""
        return dict(vars(self))


RECORD = Detection


@dataclass(frozen=True)
class Detected:
    """A detection with the scores behind it."""

    record: Detection
    sets: Mapping[str, Scores]  # "clean", "validation", and each attack


def contradictions(found: Detection) -> Iterator[str]:
    """One sentence for each thing that a detection says in two ways."""
    yield from recount_studies.contradictions(found)
    shares = {f"attacks.{one.name}": one.robust for one in found.attacks}
    for guard in found.guards:
        of_tests = {"clean_refused": guard.clean_refused, "clean": guard.clean, "worst": guard.worst}
        held = {**of_tests, **guard.robust, **({} if guard.aware is None else {"aware": guard.aware})}
        shares |= {f"{guard.detector}.{name}": share for name, share in held.items()}
        if any(guard.worst.count > one.count for name, one in held.items() if name not in of_tests):
            yield f"{guard.detector} has a worst case above one of its attacks"
    yield from recount_studies.of_all(found, shares)


def summary(found: Detection) -> str:
    """A detection in a line."""
    where = f"{found.network.defense} under {found.suite} on {found.data}, {found.budget}, seed {found.seed}"
    return f"{where}: {len(found.guards)} detectors"


def whole(found: Detection, folder: Path) -> Detected:
    """A detection with every score, from the folder of its file.

    Raises:
        BadData: the file of scores is missing, damaged, or not the record's.
    """
    scores = documents.beside(folder / SCORES, found.scores_sha256, unpack, "bench detect with --rerun")
    return Detected(found, scores)


def pack(sets: Mapping[str, Scores]) -> bytes:
    """All sets of images as one file."""
    arrays = {f"{name}/{part}": getattr(scored, part) for name, scored in sets.items() for part in _PARTS}
    return packed(arrays)


def unpack(held: Arrays) -> dict[str, Scores]:
    """The inverse; raises ValueError or KeyError for something else."""
    names = list(dict.fromkeys(key.rpartition("/")[0] for key in held))
    return {name: Scores(*(held[f"{name}/{part}"] for part in _PARTS)) for name in names}


_PARTS = ("ids", "labels", "classes", "scores")
