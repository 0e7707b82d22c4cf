"""Three bright bars in noise: a data set that every network learns at once, for tests and conformance only.

No number measured on it says anything about a defense.
"""

from __future__ import annotations

import numpy as np

from bench.core.progress import Progress
from bench.core.seeds import seed_for
from bench.data.splits import DataRequest, Splits

SIDE = 8
TRAIN_PER_CLASS, TEST_PER_CLASS = 95, 32


def read(request: DataRequest, progress: Progress) -> Splits:
    """285 training and 96 test images [1, 8, 8] uint8: a bar at the top, in the middle or at the bottom."""
    per_class = TRAIN_PER_CLASS + TEST_PER_CLASS
    y = np.tile(np.arange(3), per_class)
    patterns = np.full((3, SIDE, SIDE), 0.25)
    for label, top in enumerate((0, 3, 6)):
        patterns[label, top : top + 2] = 0.75
    seed = seed_for("synthetic", SIDE)
    state = np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])  # its stream never changes
    noisy = patterns[y] + state.uniform(-0.2, 0.2, (len(y), SIDE, SIDE))
    x = np.rint(noisy * 255).astype(np.uint8)[:, None]
    cut = 3 * TRAIN_PER_CLASS
    return Splits(x[:cut], y[:cut], x[cut:], y[cut:], ("top", "middle", "bottom"))
