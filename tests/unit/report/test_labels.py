"""Names beside points: none lies on another, and each is as near as it can be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.records.record import Interval
from bench.report.annotate import name_points
from bench.report.cost import cost
from bench.report.paper import PAGE, paper
from bench.studies.detect.record import Detected, Scores
from bench.studies.detect.report import roc_curves
from bench.studies.table import study
from bench.studies.transfer.report import heat_map

DETECTIONS = Path(__file__).parents[3] / "docs" / "records" / "detection"


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


def test_names_keep_off_the_line_of_a_cost(make_record, make_trial):
    held = {
        "fgsm": (2.0, 429), "pgd_20": (34.0, 400), "mi_fgsm_20": (36.0, 412), "apgd_ce": (157.0, 395),
        "cw_100": (160.0, 401), "pgd_100x5": (800.0, 392), "apgd_t": (1450.0, 392),
    }  # fmt: skip
    columns = tuple(
        replace(make_trial(name, robust, 500), forwards=passes / 2, backwards=passes / 2)
        for name, (passes, robust) in held.items()
    )
    with paper():
        drawn = cost([replace(make_record(), columns=columns)])
        (axes,) = drawn.figure.axes
        covered = boxes(drawn.figure, axes.texts)
    (line,) = [one for one in axes.lines if one.get_drawstyle() == "steps-post"]
    x, y = np.transpose([axes.transData.transform(point) for point in zip(*line.get_data(), strict=True)])
    pieces = [
        np.array(piece)
        for k in range(len(x) - 1)
        for piece in ((x[k], y[k] - 1, x[k + 1], y[k] + 1), (x[k + 1] - 1, y[k + 1], x[k + 1] + 1, y[k]))
    ]
    assert len(covered) == len(held) and len(pieces) == 6
    assert all(overlap(box, piece) == 0 for box in covered for piece in pieces)


@pytest.mark.parametrize("count", range(2, 6))
def test_names_below_a_matrix_lie_apart(count):
    told = [f"standard@wide_resnet_{place}0_1" for place in range(count)]
    share = Interval(0.5, 0.4, 0.6, 50, 100)
    network = SimpleNamespace(defense="standard", architecture="a", training_id="0" * 12, clean=share)
    found: Any = SimpleNamespace(
        networks=(network,) * count, labels=told, robust=((share,) * count,) * count, data="digits",
        budget="Linf 0.2", examples=100, attack="PGD(steps=20)", knowledge="white-box",
        white_box=lambda source, target: source == target,
    )  # fmt: skip
    with paper():
        drawn = heat_map(found, PAGE)
        covered = boxes(drawn.figure, drawn.figure.axes[0].get_xticklabels())
    assert all(left[2] < right[0] for left, right in pairwise(covered))


def test_figures_below_a_curve_of_few_images_lie_apart():
    found = study("detect").read(min(DETECTIONS.glob("*/detection.json")))
    found = replace(found, examples=10)
    draw, ids = np.random.default_rng(0), np.arange(10)
    sets = {
        name: Scores(ids, ids % 2, draw.integers(0, 2, 10), draw.normal(size=(len(found.guards), 10)))
        for name in ("clean", *(attacked.name for attacked in found.attacks))
    }
    with paper():
        drawn = roc_curves(Detected(found, sets))
        axes = drawn.figure.axes[-1]
        drawn.figure.canvas.draw()
        inside = [tick for tick in axes.get_xticklabels(which="both") if 0.1 <= tick.get_position()[0] <= 1]
        told = [tick for tick in inside if tick.get_text()]
        covered = sorted(boxes(drawn.figure, told), key=lambda box: box[0])
    assert len(told) == 2 and all(left[2] < right[0] for left, right in pairwise(covered))
