"""What the first page shows of each board: the best, and clean against robust accuracy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.site.board_view import CLEAN, RANKED, BoardView, PageMethod
from bench.site.shares import Share

FIRST = 3
"""How many rows of a board stand on the first page."""

_ON_PHONES, _WIDE = 2.3, 0.75
"""About how much of the picture's width, in percent, a letter of a label takes on phones, and elsewhere."""

_HIGH = 6.5
"""The same of its height, for a line."""

_Point = tuple[float, float]

_Box = tuple[float, float, float, float]
"""Left, right, bottom and top of a label, in percent of the picture."""


@dataclass(frozen=True)
class FirstRow:
    """One of the best."""

    rank: int
    name: str
    robust: Share | None
    clean: Share | None


@dataclass(frozen=True)
class Dot:
    """A method in the picture; places in percent of its width and height, from the lower left corner."""

    x: float
    y: float
    told: str
    is_best: bool  # no other is above it in one number without being below in the other
    label: str  # empty: there is no room, or others are better
    side: str  # of the dot on which the label stands: right, left, above or below; wide: not on phones
    href: str | None


@dataclass(frozen=True)
class Scatter:
    """Clean accuracy to the right, robust accuracy upwards."""

    board: BoardView
    dots: tuple[Dot, ...]
    across: tuple[tuple[float, int], ...]  # place and percent of each tick
    upwards: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class BoardCard:
    """One board on the first page."""

    board: BoardView
    first: tuple[FirstRow, ...]


def card(board: BoardView) -> BoardCard:
    """A board with its best methods."""
    return BoardCard(board, tuple(_first(method, board) for method in board.methods[:FIRST]))


def picture(board: BoardView) -> Scatter | None:
    """Every method of a board that has both numbers; None where fewer than two have."""
    held = [
        (clean.at, robust.at, method)
        for method in board.methods
        if (clean := _share(method, board, CLEAN)) and (robust := _share(method, board, RANKED))
    ]
    if len(held) < 2:
        return None
    across, upwards = _span([x for x, _, _ in held]), _span([y for _, y, _ in held])
    points = [(_place(x, across), _place(y, upwards)) for x, y, _ in held]
    front = _front(points)
    labels = _labels({point: m.head.defense for point, (_, _, m) in zip(points, held, strict=True)}, front)
    dots = [
        Dot(
            *point,
            f"{method.head.name}: clean {clean:.1f} %, robust {robust:.1f} %",
            point in front,
            *labels.get(point, ("", "")),
            (method.rows[0].href or "").removeprefix("../") or None,
        )
        for point, (clean, robust, method) in zip(points, held, strict=True)
    ]
    return Scatter(board, tuple(dots), _ticks(across), _ticks(upwards))


def _labels(names: Mapping[_Point, str], front: Collection[_Point]) -> dict[_Point, tuple[str, str]]:
    """The labels of the best, each with its side; one that would cover a dot or another label is left out.

    Those that have room on a phone come first; the others say that they need a wider screen.
    """
    found: dict[_Point, tuple[str, str]] = {}
    for letter, more in ((_ON_PHONES, ""), (_WIDE, " wide")):
        taken: list[_Box] = [(x, x, y, y) for x, y in names]
        taken += [_boxes(point, name, letter)[side] for point, (name, side) in found.items()]
        for point in sorted(set(front) - set(found), key=lambda point: -point[1]):
            boxes = _boxes(point, names[point], letter)
            side = next((side for side, box in boxes.items() if _is_free(box, point, taken)), None)
            if side is not None:
                found[point] = names[point], f"{side}{more}"
                taken.append(boxes[side])
    return found


def _boxes(point: _Point, name: str, letter: float) -> dict[str, _Box]:
    """Where a label may stand, by its side of the dot."""
    (x, y), wide, gap = point, letter * (len(name) + 1), letter
    return {
        "right": (x + gap, x + gap + wide, y - _HIGH / 2, y + _HIGH / 2),
        "left": (x - gap - wide, x - gap, y - _HIGH / 2, y + _HIGH / 2),
        "above": (x - wide / 2, x + wide / 2, y + 2, y + 2 + _HIGH),
        "below": (x - wide / 2, x + wide / 2, y - 2 - _HIGH, y - 2),
    }


def _is_free(box: _Box, own: _Point, taken: Sequence[_Box]) -> bool:
    """Whether a label lies in the picture and on nothing else than its own dot."""
    left, right, bottom, top = box
    inside = left >= 0 and right <= 100 and bottom >= -2 and top <= 106
    others = [other for other in taken if other != (own[0], own[0], own[1], own[1])]
    return inside and not any(left <= b and a <= right and bottom <= d and c <= top for a, b, c, d in others)


def _first(method: PageMethod, board: BoardView) -> FirstRow:
    return FirstRow(
        method.rank, method.head.defense, _share(method, board, RANKED), _share(method, board, CLEAN)
    )


def _share(method: PageMethod, board: BoardView, column: str) -> Share | None:
    at = next(at for at, head in enumerate(board.heads) if head.name == column)
    return method.head.cells[at].share


def _span(values: Sequence[float]) -> tuple[int, int]:
    """From which to which percent an axis goes, in whole steps.

    >>> _span([94.2, 97.4]), _span([0.0, 81.0])
    ((90, 100), (0, 100))
    """
    step = 5 if max(values) - min(values) <= 20 else 20
    low, high = step * int(min(values) // step), step * -int(-max(values) // step)
    return low, max(high, low + step)


def _ticks(span: tuple[int, int]) -> tuple[tuple[float, int], ...]:
    low, high = span
    step = 5 if high - low <= 30 else 20
    return tuple((_place(percent, span), percent) for percent in range(low, high + 1, step))


def _place(value: float, span: tuple[int, int]) -> float:
    return round(100 * (value - span[0]) / (span[1] - span[0]), 2)


def _front(points: Sequence[_Point]) -> set[_Point]:
    """Those that no other point is above in one number without being below in the other.

    >>> sorted(_front([(90, 50), (95, 40), (80, 45), (95, 30)]))
    [(90, 50), (95, 40)]
    """
    found: set[_Point] = set()
    highest = -1.0
    for x, y in sorted(points, key=lambda point: (-point[0], -point[1])):
        if y > highest:
            found.add((x, y))
            highest = y
    return found
