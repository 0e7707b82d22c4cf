"""Every kind of figure: what it shows, what it is drawn of, and what makes that; imports no plotting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.records.found import CURVE, DETECTION, DIAGNOSTICS, MATRIX, RUN, SHIFT, Source


@dataclass(frozen=True)
class Kind:
    """One kind of figure."""

    shows: str  # in one line
    sources: tuple[Source, ...]  # what it is drawn of: the first that all names lead to
    made_by: str  # the command that makes one
    by_example: bool = False  # a run's table of examples is needed, so published records are too little


KINDS: Mapping[str, Kind] = {
    "scatter": Kind("clean against robust accuracy, a mark for each training", (RUN,), "bench run"),
    "claims": Kind("published against measured robust accuracy", (RUN,), "bench run"),
    "cost": Kind("robust accuracy against the passes that each attack spent", (RUN,), "bench run"),
    "classes": Kind("clean and robust accuracy of each class", (RUN,), "bench run", by_example=True),
    "queries": Kind(
        "share still robust after so many queries",
        (RUN, CURVE),
        "bench run --suite blackbox",
        by_example=True,
    ),
    "distance": Kind(
        "share still robust up to each distance",
        (RUN,),
        "bench run --attack fmn --eps 1",
        by_example=True,
    ),
    "eps": Kind("robust accuracy over the radius", (CURVE,), "bench curve --over eps"),
    "steps": Kind("robust accuracy over the steps of an attack", (CURVE,), "bench curve --over steps"),
    "restarts": Kind("robust accuracy over restarts", (CURVE,), "bench curve --over restarts"),
    "transfer": Kind("who fools whom, as a heat map", (MATRIX,), "bench transfer"),
    "roc": Kind("what detectors find against what they flag in error", (DETECTION,), "bench detect"),
    "shift": Kind("accuracy under common corruptions", (SHIFT,), "bench shift"),
    "gallery": Kind(
        "images: clean, change, adversarial, purified, and answers", (DIAGNOSTICS,), "bench diagnose"
    ),
    "landscape": Kind(
        "loss around images, towards an attack and at random", (DIAGNOSTICS,), "bench diagnose"
    ),
    "attention": Kind("where teacher and student look", (DIAGNOSTICS,), "bench diagnose"),
    "embedding": Kind("features of clean and adversarial images", (DIAGNOSTICS,), "bench diagnose"),
    "contributions": Kind("how many features count (N_90)", (DIAGNOSTICS,), "bench diagnose"),
    "purification": Kind("images before and after a purifier", (DIAGNOSTICS,), "bench diagnose"),
    "training": Kind("loss, accuracies and learning rate over epochs", (DIAGNOSTICS,), "bench diagnose"),
}
"""By name, those of runs first."""


def kinds_of(source: Source) -> list[str]:
    """The names of all that can be drawn of such results."""
    return [name for name, kind in KINDS.items() if source in kind.sources]
