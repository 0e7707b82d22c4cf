"""What an attack did to each example: the unit that is stored, resumed and summarised."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

REFUSED = -1
"""The class of an image that a detector turned away."""

NEVER = -1
"""The first success of an attack that had none."""


@dataclass(frozen=True)
class Outcomes:
    """One attack on n examples, in the order of the evaluated subset; every array has shape [n]."""

    ids: NDArray[np.int64]  # position in the test set
    labels: NDArray[np.int64]
    clean: NDArray[np.int64]  # class predicted before the attack, or REFUSED
    attacked: NDArray[np.int64]  # class predicted for the judged image, or REFUSED
    distance: NDArray[np.float64]  # of the judged image, in the budget's norm, pixel units
    forwards: NDArray[np.int64]  # queries charged to the example
    backwards: NDArray[np.int64]  # gradients charged to the example
    first_success: NDArray[np.int64]  # forwards spent when a success was first confirmed; NEVER
    moved: NDArray[np.bool_]  # the candidate left budget or box and had to be projected
    lost: NDArray[np.bool_]  # the attack was told of a success on the way and returned a failing image
    invalid: NDArray[np.bool_]  # the candidate was not a number and was replaced by the clean image

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"every array needs one entry for each example, but the lengths are {lengths}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Right before the attack."""
        right: NDArray[np.bool_] = self.clean == self.labels
        return right

    @property
    def robust(self) -> NDArray[np.bool_]:
        """Right before the attack, and after it right or refused."""
        held: NDArray[np.bool_] = (self.attacked == self.labels) | (self.attacked == REFUSED)
        return self.correct & held

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def concatenate(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of all chunks, in order."""
    if not parts:
        raise ValueError("no outcomes to concatenate")
    return Outcomes(
        **{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Outcomes)}
    )


def worst_case(runs: Sequence[Outcomes]) -> NDArray[np.bool_]:
    """Robust against every attack, example by example, [n].

    The runs must hold the same examples in the same order.
    """
    if not runs:
        raise ValueError("the worst case needs at least one attack")
    for run in runs[1:]:
        if not np.array_equal(run.ids, runs[0].ids):
            raise ValueError("the worst case needs the same examples from every attack")
    held: NDArray[np.bool_] = np.logical_and.reduce([run.robust for run in runs])
    return held


def together(runs: Sequence[Outcomes]) -> Outcomes:
    """What columns on the same examples come to: each as the first that broke it left it, else the last.

    Only what was predicted, and at which distance, is of all of them; passes are those of the last.
    """
    last = runs[-1]
    attacked, distance = last.attacked.copy(), last.distance.copy()
    for run in reversed(runs):
        fell = run.correct & ~run.robust
        attacked[fell], distance[fell] = run.attacked[fell], run.distance[fell]
    return dataclasses.replace(last, attacked=attacked, distance=distance)
