"""What a tracker is: a class with four methods, made with the PLACE of `--track NAME:PLACE`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class TrackedWork:
    """A training or a run, as trackers are told of it."""

    kind: Literal["training", "run"]
    id: str  # as in the store
    title: str
    facts: Mapping[str, str]  # what was asked: defense, data, architecture, seed, budget, suite
    spec: str  # all that decides the result, as JSON


class Tracker(Protocol):
    """What is told how work goes, from one thread; several pieces of work may go on at once.

    Whatever it raises is told once, it is then called no more, and the work goes on.
    """

    def begin(self, work: TrackedWork) -> None:
        """A training or a run begins, goes on after a stop, or answers from the store."""

    def figures(self, work: TrackedWork, step: int, values: Mapping[str, float]) -> None:
        """Of a training after an epoch, of a run after a cell or a column. Shares are from 0 to 1."""

    def end(self, work: TrackedWork, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """It is over, with its last figures and its texts by file name, such as the table."""

    def close(self) -> None:
        """Nothing more comes; work that has not ended was stopped."""


def work_of(kind: Literal["training", "run"], name: str, encoded: Mapping[str, Any]) -> TrackedWork:
    """A training or a run by its id and its encoded specification."""
    training = encoded["training"] if kind == "run" else encoded
    told = {
        "defense": str(training["name"]),
        "data": str(training["data"]),
        "architecture": str(training["architecture"]),
        "seed": str(training["seed"]),
        "training_id": str(training["id"]) if kind == "run" else name,
    }
    if kind == "run":
        suite = encoded["suite"]
        told |= {"suite": f"{suite['name']}@{suite['version']}", "run_id": name}
    title = " ".join(told[key] for key in ("defense", "data", "suite") if key in told)
    return TrackedWork(kind, name, f"{title} seed {told['seed']}", told, json.dumps(encoded, indent=1))
