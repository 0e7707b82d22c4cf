"""Success and cost of columns that go on from each other, counted on fingers."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.credit import broken, met
from bench.core.metrics import attack_success_rate, queries_to_success
from bench.core.outcomes import NEVER, Outcomes

CORRECT = np.array([False, True, True, True, True, True])


def outcomes(first, forwards, before=CORRECT):
    """Six examples, the first wrong when clean; `before`: what the columns before this one left."""
    first, nothing = np.array(first), np.zeros(6, dtype=bool)
    return Outcomes(
        ids=np.arange(6),
        labels=np.zeros(6, dtype=np.int64),
        clean=np.where(CORRECT, 0, 1),
        attacked=np.where(before & (first == NEVER), 0, 1),
        distance=np.zeros(6),
        forwards=np.array(forwards),
        backwards=np.zeros(6, dtype=np.int64),
        first_success=first,
        moved=nothing,
        lost=nothing,
        invalid=nothing,
    )


LADDER = outcomes([NEVER, 1, 3, 3, NEVER, NEVER], [0, 1, 3, 3, 10, 12])
PROBE = outcomes([NEVER, NEVER, NEVER, NEVER, 4, NEVER], [0, 0, 0, 0, 4, 10], LADDER.robust)
SIEGE = outcomes([NEVER] * 6, [0, 0, 0, 0, 0, 5003], PROBE.robust)
SURE = outcomes([NEVER] * 5 + [0], [0] * 6, SIEGE.robust)  # returned without asking
NOBODY = outcomes([NEVER] * 6, [0] * 6, SURE.robust)


@pytest.mark.parametrize(
    ("column", "attacked", "fell", "rate", "spent"),
    [
        (LADDER, 5, 3, 3 / 5, (29 / 5, 3.0)),
        (PROBE, 2, 1, 1 / 2, (7.0, 7.0)),  # over all that was right when clean: 4/5, and a median of 0
        (SIEGE, 1, 0, 0.0, (5003.0, 5003.0)),
        (SURE, 1, 1, 1.0, (0.0, 0.0)),
        (NOBODY, 0, 0, None, None),
    ],
)
def test_a_column_has_what_it_met_and_broke(column, attacked, fell, rate, spent):
    assert (met(column).sum(), broken(column).sum()) == (attacked, fell)
    assert attack_success_rate(column) == (None if rate is None else pytest.approx(rate))
    assert queries_to_success(column) == spent
