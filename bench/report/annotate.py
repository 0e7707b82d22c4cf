"""Names beside points: each as near to its point as it can be without touching another name or a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation
from numpy.typing import NDArray

from bench.report.paper import GRAY

_RINGS = (5.0, 8.0, 12.0, 17.0, 23.0, 30.0, 38.0, 47.0, 57.0, 68.0, 80.0)  # points away
_AROUND = 16  # directions that are tried
_LINE = 9.0  # points beyond which a line leads to the name
_ROOM = 2.0  # pixels around points

Point = tuple[float, float]  # x, y in data
Box = NDArray[np.float64]  # left, bottom, right, top in pixels


def name_points(
    axes: Axes,
    points: Sequence[Point],
    names: Sequence[str],
    others: Sequence[Point] = (),
    colours: Sequence[str] = (),
) -> list[Annotation]:
    """Write a name beside each point [x, y], after the limits of the axes are set.

    `others` are points that no name may cover; `colours`, one for each point, say whose name it is. A name
    for which there is no room goes where it covers least.
    """
    figure: Any = axes.figure
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # the layout decides where points are
    frame = np.array(axes.get_window_extent().extents)
    room = _ROOM + 2.5 * figure.dpi / 72
    taken: list[Box] = [_around(axes.transData.transform(point), room) for point in {*points, *others}]
    placed = []
    for place, (point, name) in enumerate(zip(points, names, strict=True)):
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", size=7, annotation_clip=False)
        extent = text.get_window_extent(canvas.get_renderer())
        size = np.array([extent.width, extent.height])
        away, box = _place(axes.transData.transform(point), size, taken, frame, figure.dpi / 72)
        taken.append(box)
        text.remove()
        placed.append(_written(axes, name, point, away, colours[place] if colours else "black"))
    return placed


def _written(axes: Axes, name: str, point: Point, away: NDArray[np.float64], colour: str) -> Annotation:
    leads = np.hypot(*away) > _LINE
    line = GRAY if colour == "black" else colour
    arrow = {"arrowstyle": "-", "color": line, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    return axes.annotate(
        name,
        point,
        (float(away[0]), float(away[1])),
        textcoords="offset points",
        size=7,
        color=colour,
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.2},
        ha="left" if away[0] > 1 else "right" if away[0] < -1 else "center",
        va="bottom" if away[1] > 1 else "top" if away[1] < -1 else "center",
        arrowprops=arrow if leads else None,
        annotation_clip=False,
    )


def _place(
    at: NDArray[np.float64], size: NDArray[np.float64], taken: Sequence[Box], frame: Box, scale: float
) -> tuple[NDArray[np.float64], Box]:
    """How far a name goes from its point, in points, and the box that it then covers, in pixels."""
    best: tuple[float, NDArray[np.float64], Box] | None = None
    for ring in _RINGS:
        for turn in range(_AROUND):
            angle = np.pi / 4 + 2 * np.pi * turn / _AROUND
            away = ring * np.array([np.cos(angle), np.sin(angle)])
            box = _box(at + scale * away, size, away)
            covered = sum(_shared(box, other) for other in taken) + 4 * _outside(box, frame)
            if best is None or covered < best[0]:
                best = covered, away, box
            if covered == 0:
                return away, box
    assert best is not None
    return best[1], best[2]


def _box(anchor: NDArray[np.float64], size: NDArray[np.float64], away: NDArray[np.float64]) -> Box:
    """What a text covers that stands on the far side of its anchor."""
    side = np.where(away > 1, 0.0, np.where(away < -1, 1.0, 0.5))
    corner = anchor - side * size
    return np.concatenate([corner, corner + size])


def _around(at: NDArray[np.float64], room: float) -> Box:
    return np.concatenate([at - room, at + room])


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)))


def _outside(box: Box, frame: Box) -> float:
    return float(np.prod(box[2:] - box[:2])) - _shared(box, frame)
