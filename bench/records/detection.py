"""What detectors find: how well each tells attacks from clean images, and what its threshold is worth."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.errors import BadData
from bench.records.record import Interval, Provenance, Training
from bench.records.store import write_atomically

SCHEMA = 1

FOLDER, FIGURES, SCORES = "detection", "detection.json", "scores.npz"

Calibration = Literal["validation", "test", "training"]
"""Held-out training images; test images that are not judged; what others may have trained the network on."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_AGAIN = "bench detect with --rerun"


@dataclass(frozen=True)
class Area:
    """An area under a ROC curve with its 95 % interval; a fraction."""

    __pydantic_config__ = _STRICT

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Separation:
    """One detector on one attack's images in one task; positives are what it is to find."""

    __pydantic_config__ = _STRICT

    detector: str
    attack: str
    task: Literal["adversarial", "wrong"]  # adversarial against clean; wrong against right, both together
    images: Literal["all", "successes"]  # all adversarial images, or those that fooled the network
    positives: int
    negatives: int
    auroc: Area | None  # None: positives or negatives are missing
    aupr: float | None  # average precision of finding the positives
    aupr_negatives: float | None  # and of finding the negatives, by the same score reversed
    fpr95: float | None  # negatives flagged where 95 % of the positives are


@dataclass(frozen=True)
class Guard:
    """A detector with its threshold before the network; success of an attack is wrong and accepted."""

    __pydantic_config__ = _STRICT

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

    __pydantic_config__ = _STRICT

    name: str
    attack: str  # with every parameter
    knowledge: str
    robust: Interval  # of the network without any detector, under these very images


@dataclass(frozen=True)
class Claimed:
    """A published figure, beside which one of ours stands."""

    __pydantic_config__ = _STRICT

    auroc: float
    source: str
    reconstruction: str | None  # what of the protocol had to be guessed
    detector: str
    attack: str
    task: str


@dataclass(frozen=True)
class Detection:
    """One defense with every detector."""

    __pydantic_config__ = _STRICT

    schema: int
    id: str
    suite: str  # detection@1
    custom: bool  # attacks, detectors or protocol differ from what is published
    defense: str
    paper: str
    reconstruction: str | None
    data: str
    data_digest: str
    architecture: str
    norm: str
    eps: str
    seed: int
    examples: int
    fit_examples: int  # clean training images that detectors are fitted on
    validation_examples: int  # clean images that thresholds are chosen on
    false_positives: str  # the share of those that a threshold may refuse
    clean: Interval  # accuracy without a detector
    attacks: tuple[Attacked, ...]
    aware_attack: str  # with every parameter, and what it climbs
    guards: tuple[Guard, ...]
    separations: tuple[Separation, ...]
    claim: Claimed | None
    left_out: Mapping[str, str]  # detector -> why there is none of it
    training: Training
    scores_sha256: str  # of the file of all scores beside the record
    spec: Mapping[str, Any]
    provenance: Provenance
    chosen_on: Calibration = "validation"  # where the clean images lie that thresholds are chosen on

    @property
    def budget(self) -> str:
        """Norm and radius as papers print them."""
        return f"{self.norm} {self.eps}"

    def separation(self, detector: str, attack: str, task: str, images: str = "all") -> Separation:
        """The one of these names; KeyError where there is none."""
        for held in self.separations:
            if (held.detector, held.attack, held.task, held.images) == (detector, attack, task, images):
                return held
        raise KeyError(f"{detector}, {attack}, {task}, {images}")


@dataclass(frozen=True)
class Scored:
    """What the network and every detector say to one set of n images."""

    ids: NDArray[np.int64]  # [n] positions in their split
    labels: NDArray[np.int64]  # [n]
    classes: NDArray[np.int64]  # [n] predicted, or REFUSED by a detector of the defense's own
    scores: NDArray[np.float64]  # [d, n] suspicions, detectors in the record's order


def to_json(found: Detection) -> str:
    """Indented JSON, with a newline at the end."""
    return json.dumps(asdict(found), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write(folder: Path, found: Detection, content: bytes) -> None:
    """The scores, then the record: it exists = it is complete."""
    write_atomically(folder / SCORES, content)
    write_atomically(folder / FIGURES, to_json(found).encode())


def read(folder: Path) -> Detection | None:
    """The record in a folder, strictly; None: there is none.

    Raises:
        BadData: it is unreadable or something else.
    """
    path = folder / FIGURES
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{path} cannot be read ({error}), expected what bench detect wrote", _AGAIN) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BadData(f"{path} has schema {schema!r}, expected {SCHEMA}", _AGAIN)
    try:
        return TypeAdapter(Detection).validate_python(data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BadData(f"{path} is no valid detection record at {place}: {problem['msg']}", _AGAIN) from None


def pack(sets: Mapping[str, Scored]) -> bytes:
    """All sets of images as one file."""
    arrays = {f"{name}/{part}": getattr(scored, part) for name, scored in sets.items() for part in _PARTS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, Scored]:
    """The inverse; raises ValueError or KeyError for something else."""
    with np.load(io.BytesIO(content), allow_pickle=False) as held:
        names = list(dict.fromkeys(key.rpartition("/")[0] for key in held.files))
        return {name: Scored(*(held[f"{name}/{part}"] for part in _PARTS)) for name in names}


def read_scores(folder: Path, found: Detection) -> dict[str, Scored]:
    """Every score behind a record, by the set of images: "clean", "validation", or an attack.

    Raises:
        BadData: the file is missing, damaged, or not the record's.
    """
    path = folder / SCORES
    try:
        content = path.read_bytes()
        if sha256(content) != found.scores_sha256:
            raise ValueError("it is not the file that the record names")
        return unpack(content)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadData(f"{path} cannot be read ({error}), expected the scores of {found.id}", _AGAIN) from None


def sha256(content: bytes) -> str:
    """The digest of a file of scores."""
    return hashlib.sha256(content).hexdigest()


_PARTS = ("ids", "labels", "classes", "scores")
