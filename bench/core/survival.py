"""Queries to success as a curve: how many examples still stand after each number of queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.credit import broken, met
from bench.core.outcomes import Outcomes


@dataclass(frozen=True)
class Survival:
    """How many of n examples stand after so many queries; between two steps nothing changes."""

    queries: NDArray[np.int64]  # [s], ascending from 0; the last: what the attack spent at most
    robust: NDArray[np.int64]  # [s] examples, of n
    n: int


def survival(outcomes: Outcomes) -> Survival:
    """The curve of one column over all its examples, those wrong when clean among them.

    An example stands until its first confirmed success; one without any stands to the end, which is the
    largest number of queries that the attack spent on an example: beyond the limit nothing is known. Of a
    column that goes on from another, what that one broke has fallen from the start.
    """
    if not len(outcomes):
        raise ValueError("no examples, so no curve")
    end = int(outcomes.forwards[outcomes.correct].max(initial=0))
    when = np.sort(outcomes.first_success[broken(outcomes)])
    steps = np.unique(np.concatenate([[0], when, [end]])).astype(np.int64)
    fallen = np.searchsorted(when, steps, side="right")
    standing = int(met(outcomes).sum())
    return Survival(steps, standing - fallen.astype(np.int64), len(outcomes))
