"""What each attack itself met and broke, whatever the columns that it goes on from did before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.core.outcomes import NEVER, Outcomes


def broken(outcomes: Outcomes) -> NDArray[np.bool_]:
    """What an attack itself broke, [n]; of a column that goes on from others, not what those had broken."""
    fell: NDArray[np.bool_] = outcomes.correct & ~outcomes.robust & (outcomes.first_success != NEVER)
    return fell


def met(outcomes: Outcomes) -> NDArray[np.bool_]:
    """What an attack was put on, [n]: right when clean, and left standing by the columns it goes on from."""
    return outcomes.robust | broken(outcomes)
