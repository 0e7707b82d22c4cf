"""What a defense keeps of each class, counted from a run's outcomes, and counted again where it is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.by_class import Bounds, Counted, balanced, count_by_class
from bench.core.outcomes import Outcomes
from bench.records.record import Balanced, ByClass, OfClass, Record


def by_class_of(column: Outcomes, worst: NDArray[np.bool_] | None, names: Sequence[str]) -> ByClass:
    """The counts of each class; any column of a run knows the examples, `worst` [n] what all of them left.

    `names` are those of all labels.
    """
    clean = list(count_by_class(column.labels, column.correct))
    robust = None if worst is None else list(count_by_class(column.labels, worst))
    return ByClass(
        tuple(
            OfClass(names[one.label], one.n, one.held, None if robust is None else robust[place].held)
            for place, one in enumerate(clean)
        ),
        _balanced(clean),
        None if robust is None else _balanced(robust),
    )


def contradiction(record: Record) -> str | None:
    """The field of `by_class` that its own counts contradict; None: none does.

    Whether they are those of the run's examples is for `bench verify` to say.
    """
    held = record.by_class
    if held is None:
        return None
    sizes = [one.n for one in held.classes]
    if min(sizes, default=0) < 1:
        return "by_class.classes"
    if not _agree(sizes, [one.clean for one in held.classes], held.clean):
        return "by_class.clean"
    if not _agree(sizes, [one.robust for one in held.classes], held.robust):
        return "by_class.robust"
    return None


def _agree(sizes: Sequence[int], counts: Sequence[int | None], mean: Balanced | None) -> bool:
    """Whether the counts of all classes can be, and have that mean."""
    told = [count for count in counts if count is not None]
    if mean is None:
        return not told
    if len(told) < len(sizes) or any(not 0 <= count <= n for count, n in zip(told, sizes, strict=True)):
        return False
    found = [Counted(place, n, count) for place, (n, count) in enumerate(zip(sizes, told, strict=True))]
    return _balanced(found) == mean


def _balanced(counts: list[Counted]) -> Balanced:
    return Balanced(*_rounded(balanced(counts)))


def _rounded(bounds: Bounds) -> Bounds:
    value, low, high = (round(end, 6) for end in bounds)
    return value, low, high
