"""Handwritten digits of 8x8 pixels that scikit-learn carries (Alpaydin and Kaynak, UCI repository, 1998)."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from bench.core.progress import Progress
from bench.core.seeds import seed_for
from bench.data.splits import DataRequest, Splits, hold_out

TEST_SIZE = 360


def read(request: DataRequest, progress: Progress) -> Splits:
    """1,437 training and 360 test images [1, 8, 8], sixteenths in [0, 1], classes in proportion."""
    bunch = load_digits()
    x = (bunch.images / 16).astype(np.float32)[:, None]
    y = bunch.target.astype(np.int64)
    train, test = hold_out(y, TEST_SIZE, seed_for("split", "digits"))
    return Splits(x[train], y[train], x[test], y[test])
