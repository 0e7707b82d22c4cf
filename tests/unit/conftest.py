"""Diagnostics made by hand, for the tests of records and of figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.core.digest import content_id
from bench.records.heading import Network
from bench.records.record import Interval, Provenance, Training
from bench.records.recount import wilson
from bench.records.training_log import LOG_COLUMNS
from bench.studies.diagnose import record as records
from bench.studies.diagnose.record import Diagnosed

N, D, SHOWN = 12, 5, 3


def share(count: int) -> Interval:
    """A share of the examples."""
    return Interval(count / N, *wilson(count, N), count, N)


def arrays(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Twelve 8x8 images of three classes, of which every third is fooled."""
    generator = np.random.default_rng(seed)
    labels = np.arange(N) % 3
    fooled = np.where(np.arange(N) % 3 == 0, (labels + 1) % 3, labels)
    pictures = {name: generator.random((SHOWN, 1, 8, 8), dtype=np.float32) for name in PICTURES}
    return {
        "labels": labels,
        "ids": 100 + np.arange(N),
        "class_clean": labels,
        "class_adversarial": fooled,
        "shown": np.array([0, 1, 5]),
        "image_clean": pictures["clean"],
        "image_adversarial": pictures["adversarial_white"],
        **{
            f"attention_{who}_{state}": generator.random((SHOWN, 2, 2), dtype=np.float32)
            for who in ("teacher", "student")
            for state in ("clean", "adversarial")
        },
        **{f"embedding_{s}": generator.normal(size=(N, 2)).astype(np.float32) for s in STATES},
        **{f"n90_{s}": generator.integers(1, D, N) for s in STATES},
        **{f"coverage_{s}": np.array([0.4, 0.7, 0.9, 1, 1], dtype=np.float32) for s in STATES},
        **{f"picture_{name}": images for name, images in pictures.items()},
        **{f"psnr_{name}": np.full(N, np.inf if name == "clean" else 20.5) for name in PICTURES},
        **{f"ssim_{name}": np.full(N, 1.0 if name == "clean" else 0.75) for name in PICTURES},
        **{f"verdict_{name}": labels for name in PICTURES},
        **{f"confidence_{s}": generator.random(N, dtype=np.float32) for s in STATES},
        "gallery_purified": pictures["adversarial_white_purified"],
        "landscape_examples": np.array([0, 5]),
        "landscape_at": np.array([-1.0, 0.0, 1.0]),
        "landscape_loss": generator.random((2, 3, 3), dtype=np.float32),
        "landscape_margin": np.linspace(2, -1, 3, dtype=np.float32) * np.ones((2, 3, 1), dtype=np.float32),
        "landscape_class": np.where(np.arange(3) < 2, labels[[0, 5], None, None], 1).repeat(3, axis=1),
    }


STATES = ("clean", "adversarial")
PICTURES = tuple(
    f"{name}{after}"
    for name in ("clean", "adversarial_white", "adversarial_gray")
    for after in ("", "_purified")
)


RUN = {
    "training": {
        "id": "7" * 12,
        "name": "agkd_bml",
        "data": "digits",
        "architecture": "small_cnn",
        "seed": 0,
        "budget": {"norm": "Linf", "eps": "8/255"},
        "defense": {},
        "recipe": {"validation_steps": 10},
        "parents": {"teacher": "f" * 12},
    },
    "suite": {"name": "attacks", "version": 1, "chunk": 500, "trials": []},
    "budget": {"norm": "Linf", "eps": "8/255"},
    "checkpoint": "best",
    "others": {},
}
"""What was run: as much of it as is read again."""


def diagnostics(**changes: Any) -> Diagnosed:
    """A diagnosis with every kind in it; `arrays_seed` changes the arrays, any field can be replaced."""
    spread = records.Spread(3.0, 2.0, 3.0, 4.0)
    network = Network(
        defense=changes.pop("defense", "agkd_bml"),
        paper="Wang et al., ICCV 2021",
        reconstruction=None,
        architecture=changes.pop("architecture", "small_cnn"),
        recipe="short",
        training_id="7" * 12,
        sha256="0" * 64,
        checkpoint="best",
        clean=share(12),
    )
    found = records.Diagnosis(
        schema=records.SCHEMA,
        id=content_id({"run": RUN}),
        networks=(network,),
        data="digits",
        data_digest="d" * 12,
        classes=("zero", "one", "two"),
        norm="Linf",
        eps="8/255",
        seed=0,
        examples=N,
        attack="PGD(steps=20, step_size=1/4, random_start=True)",
        knowledge="white-box",
        seconds=1.0,
        adversarial=share(8),
        weights=Training("7" * 12, "short", "best", 2, 3, 3.0, 0.5, "0" * 64, 1000, {"teacher": "f" * 12}),
        train_budget="Linf 8/255",
        attention=records.Attention(-1, 2, 2, 0.125, "f" * 12, None, 0.25, 0.0625, 0.1875),
        embedding=records.Embedding("pca", D, (0.5, 0.25), share(11), share(6), 0.5, -0.125),
        contributions=records.Contributions(D, 0.9, spread, spread, 0, 0),
        purification=records.Purification(
            {name: records.Fidelity(None if name == "clean" else 20.5, 0.75, share(9)) for name in PICTURES}
        ),
        training=records.TrainingLog(
            ("adversarial", "triplet"),
            (*LOG_COLUMNS[:3], "adversarial", "triplet", *LOG_COLUMNS[3:]),
            (
                (1, 1, 0.1, 2.0, 0.01, 2.01, 0.5, 0.25, 100, 1),
                (1, 2, 0.05, 1.5, 0.02, 1.52, 0.75, 0.5, 100, 1),
                (1, 3, 0.01, 1.0, None, 1.0, None, None, 100, 1),
            ),
        ),
        left_out={},
        arrays_sha256="0" * 64,
        spec={"run": RUN},
        provenance=Provenance("0.1", None, None, {}, {}, "3.11", "cpu", "2026-01-01T00:00:00+00:00", 1.0),
        gallery=records.Gallery(True, 0.25),
        landscape=records.Landscape(3, 1.0),
    )
    held = arrays(changes.pop("arrays_seed", 0))
    return Diagnosed(dataclasses.replace(found, **changes), held)


@pytest.fixture
def diagnosed() -> Callable[..., Diagnosed]:
    """Diagnostics by keyword; see `diagnostics`."""
    return diagnostics
