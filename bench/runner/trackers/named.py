"""Which tracker a text such as `mlflow:http://server:5000` names, with its place."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping

from bench.errors import MissingExtra, unknown
from bench.runner.trackers.hook import Tracker

GROUP = "bench.trackers"
"""The entry-point group by which other packages offer trackers."""

TRACKERS: Mapping[str, str] = {
    "mlflow": "bench.runner.trackers.on_mlflow:MlflowTracker",
    "tensorboard": "bench.runner.trackers.on_tensorboard:TensorboardTracker",
}
"""Name -> class of ours; each has an extra of its name."""


def check_tracker(text: str) -> None:
    """Know before anything is loaded whether `--track` can be what was typed.

    Raises:
        UnknownName: there is no such tracker.
    """
    location(text.partition(":")[0])


def location(name: str) -> str:
    """Where a tracker's name leads: "module:class".

    Raises:
        UnknownName: there is none.
    """
    offered = {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}
    known = {**offered, **TRACKERS}
    if name not in known:
        raise unknown("tracker", name, known, hint="--track tensorboard:FOLDER")
    return known[name]


def tracker_named(text: str) -> Tracker:
    """The tracker that a text names.

    Raises:
        UnknownName: there is none.
        MissingExtra: what it is made of is not installed.
    """
    name, _, place = text.partition(":")
    module, _, attribute = location(name).partition(":")
    try:
        found: Tracker = getattr(importlib.import_module(module), attribute)(place)
    except ModuleNotFoundError as error:
        hint = (
            f'pip install "robust-bench-harness[{name}]"' if name in TRACKERS else f"pip install {error.name}"
        )
        raise MissingExtra(
            f"--track {name} needs the package {error.name}, which is not installed", hint
        ) from None
    return found
