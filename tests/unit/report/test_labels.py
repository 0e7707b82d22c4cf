"""Names beside points: none lies on another, and each is as near as it can be."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.report.annotate import name_points


def boxes(figure, texts):
    """What each text covers once it is drawn, left, bottom, right, top."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    from matplotlib.text import Text

    return [np.array(Text.get_window_extent(text, canvas.get_renderer()).extents) for text in texts]


def overlap(one, other) -> float:
    return float(np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)))


@pytest.fixture
def axes():
    figure = Figure(figsize=(3.25, 2.6), layout="constrained")
    return figure.subplots()


@pytest.mark.parametrize("seed", range(3))
def test_names_of_a_dozen_points_lie_apart(axes, seed):
    points = np.random.default_rng(seed).normal(size=(12, 2))
    axes.scatter(*points.T, s=9)
    axes.margins(0.15)
    texts = name_points(axes, [tuple(point) for point in points], [f"defense_{k}" for k in range(12)])
    covered = boxes(axes.figure, texts)
    for place, one in enumerate(covered):
        assert all(overlap(one, other) == 0 for other in covered[place + 1 :])
        for point in axes.transData.transform(points):
            assert not ((one[:2] < point) & (point < one[2:])).all(), "a name covers no point"


def test_a_lonely_point_has_its_name_beside_it(axes):
    axes.plot([0, 1, 2], [0, 1, 2], "o")
    (text,) = name_points(axes, [(1.0, 1.0)], ["alone"])
    assert np.hypot(*text.get_position()) < 6 and text.arrow_patch is None
    assert [text.get_text() for text in axes.texts] == ["alone"]
