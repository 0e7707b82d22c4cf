"""What was seen inside a deployed defense: figures in the record, arrays in `arrays.npz` beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.core.files import read_text
from bench.errors import BadData
from bench.records import documents, recount_studies
from bench.records.arrays import Arrays, packed
from bench.records.heading import STRICT, Heading
from bench.records.kinds import Sha256
from bench.records.record import Interval, Training
from bench.records.training_log import LOG_COLUMNS
from bench.records.upgrades import Upgrade, with_networks

SCHEMA = 2


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    return {"gallery": None, "landscape": None, **with_networks(data)}


UPGRADES: Mapping[int, Upgrade] = {1: _from_1}
"""Schema -> what makes the next of it."""

Kind = Literal["attention", "embedding", "contributions", "purification", "training", "gallery", "landscape"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be drawn."""

Method = Literal["pca", "tsne"]
"""How features come to the plane."""

ARRAYS = "arrays.npz"
"""The file beside the record."""

_AGAIN = "bench diagnose with --rerun"


@dataclass(frozen=True)
class Attention:
    """Attention maps: channel sums of a stage's feature map, scaled to [0, 1] for each image.

    Distances are means over all examples and positions of the absolute difference of two maps. Arrays:
    `attention_{student,teacher}_{clean,adversarial}` [S, H, W] of the shown examples, and
    `attention_distance_{student,student_teacher}` [n].
    """

    __pydantic_config__ = STRICT

    stage: int  # -1: the last
    height: int
    width: int
    student_moved: float  # |student(x') - student(x)|
    teacher: str | None  # its training id
    without_teacher: str | None  # why there is none
    teacher_moved: float | None  # |teacher(x') - teacher(x)|
    apart_clean: float | None  # |student(x) - teacher(x)|
    apart_adversarial: float | None  # |student(x') - teacher(x)|


@dataclass(frozen=True)
class Embedding:
    """Penultimate features in the plane.

    Arrays: `features_{clean,adversarial}` [n, D], `embedding_{clean,adversarial}` [n, 2] in the same plane.
    """

    __pydantic_config__ = STRICT

    method: Method
    features: int  # D
    explained: tuple[float, float] | None  # shares of the variance; PCA only
    # nearest, of the class means of the clean features without the example's own, to that of the true class
    nearest_mean_clean: Interval | None  # None: no class has two examples
    nearest_mean_adversarial: Interval | None
    silhouette_clean: float | None  # of the true classes; None: it needs 2 classes, and fewer than examples
    silhouette_adversarial: float | None


@dataclass(frozen=True)
class Spread:
    """A count over the examples."""

    __pydantic_config__ = STRICT

    mean: float
    low: float  # quartiles
    median: float
    high: float


@dataclass(frozen=True)
class Contributions:
    """How many features make 90 % of what speaks for the true class: N_90.

    A feature's contribution is h_j W[y, j]. Arrays: `n90_{clean,adversarial}` [n], and
    `coverage_{clean,adversarial}` [D], the mean share that the largest 1, 2, ... contributions make.
    """

    __pydantic_config__ = STRICT

    features: int  # D
    share: float  # 0.9
    clean: Spread
    adversarial: Spread
    without_clean: int  # examples for which nothing speaks: their N_90 is 0
    without_adversarial: int


@dataclass(frozen=True)
class Fidelity:
    """Pictures of all examples, compared with the clean images."""

    __pydantic_config__ = STRICT

    psnr: float | None  # mean, in dB; None: infinite, because some picture is the clean image
    ssim: float  # mean
    accuracy: Interval  # of the bare classifier on these pictures


@dataclass(frozen=True)
class Purification:
    """Images before and after the purifier.

    Pictures are named `clean` and, for each attacker, `adversarial_white` (against the deployed defense) and
    `adversarial_gray` (against the classifier alone); each with `_purified` behind it for what the purifier
    makes of it. Arrays: `picture_NAME` [S, C, H, W] of the shown examples; `psnr_NAME`, `ssim_NAME` and
    `verdict_NAME` [n], the last as the bare classifier says.
    """

    __pydantic_config__ = STRICT

    pictures: Mapping[str, Fidelity]


@dataclass(frozen=True)
class Gallery:
    """Images as readers see them, with how sure the deployed defense is.

    Arrays: `confidence_{clean,adversarial}` [n], the softmax of the largest logit; where there is a purifier,
    `gallery_purified` [S, C, H, W], what it makes of the adversarial images.
    """

    __pydantic_config__ = STRICT

    is_purified: bool
    largest_change: float  # of a pixel value, of the shown images


@dataclass(frozen=True)
class Landscape:
    """Cross-entropy of the deployed network around images: x + a (x' - x) + b r, clipped to [0, 1].

    r holds the values of x' - x in random order with random signs, so it is as long in every norm. Arrays:
    `landscape_examples` [L] positions among the n, of the first shown that were right when clean and were
    moved; `landscape_at` [G] values of a and of b; `landscape_loss`, `landscape_margin` (the logit of the
    label less the largest other) and `landscape_class` [L, G, G], b down and a across.
    """

    __pydantic_config__ = STRICT

    steps: int  # G
    reach: float  # the largest a and b


@dataclass(frozen=True)
class TrainingLog:
    """The training log: a row for each epoch, in order; stages follow each other."""

    __pydantic_config__ = STRICT

    terms: tuple[str, ...]  # those of the columns that are loss terms
    columns: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]

    def column(self, name: str) -> NDArray[np.float64]:
        """One column, NaN where nothing was measured."""
        place = self.columns.index(name)
        return np.array([np.nan if row[place] is None else row[place] for row in self.rows], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Portraits:
    """What there is of each kind."""

    __pydantic_config__ = STRICT

    attention: Attention | None
    embedding: Embedding | None
    contributions: Contributions | None
    purification: Purification | None
    training: TrainingLog | None
    gallery: Gallery | None
    landscape: Landscape | None
    left_out: Mapping[str, str]  # kind -> why there is none

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)

    def why_not(self, kind: str) -> str | None:
        """Why there is none."""
        return self.left_out.get(kind)


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Portraits, Heading):
    """One deployed defense, clean and under attack.

    Arrays of all: `labels`, `ids` (positions in the test set), `class_clean` and `class_adversarial` (as the
    deployed defense says; -1: refused) [n], `shown` [S] positions among the n, `image_clean` and
    `image_adversarial` [S, C, H, W].
    """

    classes: tuple[str, ...]
    attack: str  # with every parameter
    knowledge: str
    adversarial: Interval  # accuracy on these adversarial images; other attacks may leave less
    weights: Training
    train_budget: str  # of the attack inside training
    arrays_sha256: Sha256


RECORD = Diagnosis


@dataclass(frozen=True)
class Diagnosed:
    """A diagnosis with its arrays."""

    record: Diagnosis
    arrays: Arrays

    def array(self, name: str) -> NDArray[Any]:
        """One of the arrays; BadData if it is not there."""
        if name not in self.arrays:
            raise BadData(f"the diagnosis {self.record.id} has no array {name!r}", _AGAIN)
        return self.arrays[name]


def contradictions(found: Diagnosis) -> Iterator[str]:
    """One sentence for each thing that a diagnosis says in two ways."""
    yield from recount_studies.contradictions(found)
    yield from recount_studies.of_all(found, {"adversarial": found.adversarial})


def summary(found: Diagnosis) -> str:
    """A diagnosis in a line."""
    where = f"{found.network.defense} on {found.data}, {found.budget}, seed {found.seed}"
    return f"{where}: {', '.join(found.kinds)}"


def whole(found: Diagnosis, folder: Path) -> Diagnosed:
    """A diagnosis with its arrays, from the folder of its file.

    Raises:
        BadData: the file of arrays is missing, damaged, or not the record's.
    """
    arrays = documents.beside(folder / ARRAYS, found.arrays_sha256, unpack, _AGAIN)
    return Diagnosed(found, arrays)


def pack(arrays: Arrays) -> bytes:
    """The bytes of an npz file."""
    return packed(arrays)


def unpack(held: Arrays) -> dict[str, NDArray[Any]]:
    """The inverse."""
    return dict(held)


def read_log(path: Path) -> TrainingLog | None:
    """The log of a training; None: there is nothing in it.

    Raises:
        BadData: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        columns, *lines = list(csv.reader(io.StringIO(read_text(path), newline=""))) or [[]]
        rows = tuple(tuple(float(cell) if cell else None for cell in line) for line in lines)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise BadData(f"{path} cannot be read ({error}), expected the log of a training") from None
    terms = tuple(name for name in columns if name not in LOG_COLUMNS)
    return TrainingLog(terms, tuple(columns), rows) if rows else None
