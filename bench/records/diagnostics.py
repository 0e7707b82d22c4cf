"""What was seen inside a deployed defense: figures in `diagnostics.json`, arrays in `arrays.npz`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.errors import BadData
from bench.records.record import Interval, Provenance, Training
from bench.records.store import write_atomically

SCHEMA = 1

Kind = Literal["attention", "embedding", "contributions", "purification", "training", "gallery", "landscape"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be drawn."""

FOLDER, FIGURES, ARRAYS = "diagnostics", "diagnostics.json", "arrays.npz"

LOG_COLUMNS = (
    "stage",
    "epoch",
    "lr",
    "loss",
    "clean_accuracy",
    "robust_accuracy",
    "images_per_second",
    "seconds",
)
"""The columns of a training's log.csv that are no loss terms."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Attention:
    """Attention maps: channel sums of a stage's feature map, scaled to [0, 1] for each image.

    Distances are means over all examples and positions of the absolute difference of two maps. Arrays:
    `attention_{student,teacher}_{clean,adversarial}` [S, H, W] of the shown examples, and
    `attention_distance_{student,student_teacher}` [n].
    """

    __pydantic_config__ = _STRICT

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

    __pydantic_config__ = _STRICT

    method: Literal["pca", "tsne"]
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

    __pydantic_config__ = _STRICT

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

    __pydantic_config__ = _STRICT

    features: int  # D
    share: float  # 0.9
    clean: Spread
    adversarial: Spread
    without_clean: int  # examples for which nothing speaks: their N_90 is 0
    without_adversarial: int


@dataclass(frozen=True)
class Fidelity:
    """Pictures of all examples, compared with the clean images."""

    __pydantic_config__ = _STRICT

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

    __pydantic_config__ = _STRICT

    pictures: Mapping[str, Fidelity]


@dataclass(frozen=True)
class Gallery:
    """Images as readers see them, with how sure the deployed defense is.

    Arrays: `confidence_{clean,adversarial}` [n], the softmax of the largest logit; where there is a purifier,
    `gallery_purified` [S, C, H, W], what it makes of the adversarial images.
    """

    __pydantic_config__ = _STRICT

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

    __pydantic_config__ = _STRICT

    steps: int  # G
    reach: float  # the largest a and b


@dataclass(frozen=True)
class Curve:
    """The training log: a row for each epoch, in order; stages follow each other."""

    __pydantic_config__ = _STRICT

    terms: tuple[str, ...]  # those of the columns that are loss terms
    columns: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]

    def column(self, name: str) -> NDArray[np.float64]:
        """One column, NaN where nothing was measured."""
        place = self.columns.index(name)
        return np.array([np.nan if row[place] is None else row[place] for row in self.rows], dtype=np.float64)


@dataclass(frozen=True)
class Diagnostics:
    """One deployed defense, clean and under attack.

    Arrays of all: `labels`, `ids` (positions in the test set), `class_clean` and `class_adversarial` (as the
    deployed defense says; -1: refused) [n], `shown` [S] positions among the n, `image_clean` and
    `image_adversarial` [S, C, H, W].
    """

    __pydantic_config__ = _STRICT

    schema: int
    id: str
    defense: str  # the name, with what was overridden
    paper: str
    reconstruction: str | None
    data: str
    data_digest: str
    classes: tuple[str, ...]
    architecture: str
    norm: str
    eps: str
    seed: int
    examples: int
    attack: str  # with every parameter
    knowledge: str
    clean: Interval  # accuracy of the deployed defense
    adversarial: Interval  # the same on these adversarial images; other attacks may leave less
    weights: Training
    train_budget: str  # of the attack inside training
    attention: Attention | None
    embedding: Embedding | None
    contributions: Contributions | None
    purification: Purification | None
    training: Curve | None
    left_out: Mapping[str, str]  # kind -> why there is none
    arrays_sha256: str
    spec: Mapping[str, Any]  # the whole resolved request
    provenance: Provenance
    gallery: Gallery | None = None  # None, and not left out: made before there was one
    landscape: Landscape | None = None

    @property
    def budget(self) -> str:
        """Norm and radius as papers print them."""
        return f"{self.norm} {self.eps}"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What of this can be drawn."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)


@dataclass(frozen=True)
class Diagnosed:
    """Diagnostics with their arrays."""

    figures: Diagnostics
    arrays: Arrays

    def array(self, name: str) -> NDArray[Any]:
        """One of the arrays; BadData if it is not there."""
        if name not in self.arrays:
            raise BadData(
                f"the diagnostics {self.figures.id} have no array {name!r}", "bench diagnose with --rerun"
            )
        return self.arrays[name]


def pack(arrays: Arrays) -> bytes:
    """The bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **cast(dict[str, Any], dict(arrays)))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """What `Diagnostics.arrays_sha256` holds."""
    return hashlib.sha256(content).hexdigest()


def write(folder: Path, figures: Diagnostics, arrays: bytes) -> None:
    """The arrays, then the figures: they exist = the diagnostics are complete."""
    write_atomically(folder / ARRAYS, arrays)
    write_atomically(folder / FIGURES, to_json(figures).encode())


def to_json(figures: Diagnostics) -> str:
    """Indented JSON, with a newline at the end."""
    return json.dumps(asdict(figures), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def read_figures(folder: Path) -> Diagnostics:
    """The figures in a folder, strictly: an unknown field, a missing one, or a NaN is refused.

    Raises:
        BadData: they are missing, unreadable or something else.
    """
    path = folder / FIGURES
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path} cannot be read ({error}), expected what bench diagnose wrote") from None
    except json.JSONDecodeError as error:
        raise BadData(
            f"{path} is not JSON (line {error.lineno}), expected what bench diagnose wrote"
        ) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BadData(f"{path} has schema {schema!r}, expected {SCHEMA}", "bench diagnose with --rerun")
    try:
        return TypeAdapter(Diagnostics).validate_python(data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BadData(f"{path} holds no valid diagnostics at {place}: {problem['msg']}") from None


def read(folder: Path) -> Diagnosed:
    """The diagnostics in a folder, with the arrays that belong to them.

    Raises:
        BadData: they are missing, damaged, or do not belong together.
    """
    figures, path = read_figures(folder), folder / ARRAYS
    try:
        content = path.read_bytes()
        if sha256(content) != figures.arrays_sha256:
            raise BadData(f"{path} was changed after its diagnostics", "bench diagnose with --rerun")
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            return Diagnosed(figures, {name: held[name] for name in held.files})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadData(f"{path} cannot be read ({error})", "bench diagnose with --rerun") from None


def read_log(path: Path) -> Curve | None:
    """The log of a training; None: there is nothing in it.

    Raises:
        BadData: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns, *lines = list(csv.reader(file)) or [[]]
        rows = tuple(tuple(float(cell) if cell else None for cell in line) for line in lines)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise BadData(f"{path} cannot be read ({error}), expected the log of a training") from None
    terms = tuple(name for name in columns if name not in LOG_COLUMNS)
    return Curve(terms, tuple(columns), rows) if rows else None
