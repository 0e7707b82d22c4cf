"""Two computations of one cell: which verdicts differ, and which of those hang on a machine's last digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from bench.api import Attack, Oracle
from bench.attacks.losses import margin
from bench.core.json_file import parse_json
from bench.core.outcomes import Outcomes
from bench.core.threat import EVERY_NORM, Budget, Norm
from bench.evaluate.engine import Chunk
from bench.evaluate.referee import fools
from bench.records.evidence import images
from bench.runner.columns import Played
from bench.runner.subject import Subject

TOLERANCE = 0.01
"""The margin of a borderline image, at most, in shares of the spread of logits.

The spread is the largest logit minus the smallest, the median of a chunk's clean images.
Another processor or device rounds otherwise, in the sixth digit of a logit or so; an attack carries that on,
for a step's sign turns where a gradient is nearly zero, and then ends a little elsewhere. So the same attack
comes to either verdict where the image that it ends with is that near to the boundary, and to the same one
farther from it.
"""


@dataclass
class Noted(Attack):
    """An attack with what it proposed."""

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM  # that the attack has, too

    attack: Attack
    proposed: Tensor | None = None  # [m, C, H, W], for the examples that it was put on

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """What the attack proposes."""
        self.proposed = self.attack(oracle, x, y, budget, generator)
        return self.proposed


@dataclass(frozen=True)
class Agreement:
    """The examples whose verdict two computations of a cell disagree about, by what is known of them."""

    differ: int  # all of them
    borderline: tuple[int, ...]  # the margin of their image is within the tolerance of zero
    proven: tuple[int, ...]  # not broken now, and the stored image fools the defense here, too
    apart: tuple[int, ...]  # neither

    def told(self, n: int) -> str:
        """In one line."""
        parts = [f"{self.differ} of {n} verdicts differ"]
        for what, ids in (
            ("borderline", self.borderline),
            ("broken by the stored image here, too", self.proven),
            ("beyond the tolerance", self.apart),
        ):
            if ids:
                parts.append(f"{what}: {_listed(ids)}")
        return "; ".join(parts)


def agreement(
    subject: Subject,
    then: Outcomes,
    played: Played,
    attack: Noted,
    before: Outcomes | None,
    stored: Mapping[int, NDArray[np.float32]],
    tolerance: float,
) -> Agreement:
    """What differs between a stored cell and one that was played now.

    `before` is what both went on from, `stored` the images by which the run's column broke examples, by id.
    """
    now, broken = played.cell.outcomes, played.cell.broken
    assert now is not None and broken is not None, "it did not fail"
    chunk = subject.chunk(played.number)
    put_on = now.correct if before is None else now.correct & before.robust
    place = np.cumsum(put_on) - 1  # among what was proposed
    found = {int(i): image for i, image in zip(broken.ids, broken.images, strict=True)}
    rows = np.flatnonzero((then.robust != now.robust) | (then.correct != now.correct))
    reach = tolerance * spread(subject, chunk)
    near: list[int] = []
    proven: list[int] = []
    for row in rows.tolist():
        example = int(now.ids[row])
        if then.correct[row] != now.correct[row]:
            image = chunk.x[row]
        elif example in found:
            image = torch.from_numpy(found[example]).to(chunk.x)
        else:
            image = chunk.x[row] if attack.proposed is None else attack.proposed[int(place[row])]
            if example in stored and _fools(subject, chunk, row, stored[example]):
                proven.append(example)
                continue
        if is_borderline(subject, image[None], chunk.y[row : row + 1], reach)[0]:
            near.append(example)
    rest = {int(i) for i in now.ids[rows]} - {*near, *proven}
    return Agreement(len(rows), tuple(near), tuple(proven), tuple(sorted(rest)))


@torch.no_grad()
def spread(subject: Subject, chunk: Chunk) -> float:
    """The median, over a chunk's clean images, of how far its logits lie apart."""
    logits = subject.batches.map(subject.deployed.predict, chunk.x).float()
    return float((logits.amax(1) - logits.amin(1)).median())


@torch.no_grad()
def is_borderline(subject: Subject, x: Tensor, y: Tensor, reach: float) -> NDArray[np.bool_]:
    """[n]: whose margin, at images x [n, C, H, W], is at most so far from zero."""
    logits = subject.batches.map(subject.deployed.predict, x).float()
    held: NDArray[np.bool_] = (margin(logits, y).abs() <= reach).cpu().numpy()
    return held


def images_of(path: Path, column: str) -> dict[int, NDArray[np.float32]]:
    """Id -> the stored image by which a column was the first to break an example; none where none are kept.

    Raises:
        BadData: the file is damaged.
    """
    if not path.is_file():
        return {}
    with images(path) as kept:
        columns = parse_json(kept.metadata["columns"])
        ids = kept.ids[kept.array("columns") == (columns.index(column) if column in columns else -1)]
        return {int(i): image for i, image in zip(ids, kept.of(ids), strict=True)}


def borderline_evidence(
    subject: Subject, path: Path, tolerance: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Whose clean or stored image is borderline, as ids; and whose is, the stored one rounded to 8 bits.

    Raises:
        BadData: the file is damaged.
    """
    plain: list[int] = []
    rounded: list[int] = []
    with images(path) as kept:
        for number in range(len(subject.rows)):
            chunk = subject.chunk(number)
            ids = chunk.ids.cpu().numpy()
            here = np.isin(ids, kept.ids)
            reach = tolerance * spread(subject, chunk)
            clean = is_borderline(subject, chunk.x, chunk.y, reach)
            plain += ids[clean].tolist()
            rounded += ids[clean].tolist()
            if here.any():
                at = torch.from_numpy(here).to(chunk.x.device)
                shown = torch.from_numpy(kept.of(ids[here])).to(chunk.x.device)
                eight = (shown * 255).round() / 255
                plain += ids[here][is_borderline(subject, shown, chunk.y[at], reach)].tolist()
                rounded += ids[here][is_borderline(subject, eight, chunk.y[at], reach)].tolist()
    return tuple(sorted({*plain})), tuple(sorted({*rounded}))


def _fools(subject: Subject, chunk: Chunk, row: int, image: NDArray[np.float32]) -> bool:
    shown = torch.from_numpy(image).to(chunk.x)[None]
    verdict = subject.arena.referee.judge(shown, chunk.x[row : row + 1])
    return bool(fools(verdict.classes, chunk.y[row : row + 1])[0])


def _listed(ids: Sequence[int], most: int = 20) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return f"{', '.join(map(str, ids[:most]))}{more}"
