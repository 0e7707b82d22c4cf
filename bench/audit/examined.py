"""What an audit puts to the test: a deployed defense, test images, and the attack its number rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.api import Deployed
from bench.attacks.pgd import PGD
from bench.core.outcomes import Outcomes
from bench.core.threat import Budget, Source
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, part_of
from bench.evaluate.numerics import Numerics

SHARE_OF_RANDOMIZED = 5
"""A randomized defense costs many passes for each gradient: it is looked at on a fifth of the examples."""


@dataclass(frozen=True)
class Examined:
    """A defense with all that the rules need to attack it."""

    deployed: Deployed
    budget: Budget
    num_classes: int
    chunk: Chunk  # the first examples of its run
    identity: str  # names the random streams
    seed: int  # of the run, that its verdicts are drawn from
    found: Outcomes  # what all columns of the run together did to the chunk's examples
    attack: PGD = field(default_factory=lambda: PGD(steps=50))  # the strongest of the run
    times: int = 1  # how often the run played that; 0: it has none, and this is a usual one
    outdone: bool = False  # other columns of the run broke more of what that one left than a few
    numerics: Numerics = field(default_factory=Numerics)
    batches: Batches = field(default_factory=lambda: Batches(128))

    def arena(
        self,
        budget: Budget | None = None,
        deployed: Deployed | None = None,
        others: Mapping[Source, nn.Module] | None = None,
    ) -> Arena:
        """The defense, or another, under its budget or another."""
        return Arena(
            deployed or self.deployed,
            budget or self.budget,
            self.num_classes,
            others or {},
            self.numerics,
            self.batches,
            seed=self.seed,
            images=self.chunk.x,
        )

    def few(self, n: int) -> Chunk:
        """The first n examples, fewer of a randomized defense."""
        n = max(1, n // SHARE_OF_RANDOMIZED) if self.deployed.randomized else n
        held = self.chunk
        return Chunk(held.number, held.x[:n], held.y[:n], held.ids[:n])

    def left(self, n: int) -> tuple[Chunk, Outcomes]:
        """The same n examples, and what the run left of them.

        Those of a randomized defense come within the whole chunk, where no other counts as left: so verdicts
        are drawn as in the run, and a change is one of the image and not of luck.
        """
        few = self.few(n)
        if not self.deployed.randomized:
            return few, part_of(self.found, 0, len(few.y))
        others = np.arange(len(self.found)) >= len(few.y)
        return self.chunk, without(self.found, others)

    def standing(self, n: int) -> tuple[Chunk, Outcomes]:
        """The same with the first n examples alone that the run left, of five times as many."""
        chunk, found = self.left(5 * n)
        enough = np.cumsum(found.robust) > len(self.few(n).y)
        return chunk, without(found, enough)

    def generator(self, seed: int) -> torch.Generator:
        """A random stream on the images' device."""
        return torch.Generator(self.chunk.x.device).manual_seed(seed)


def without(found: Outcomes, rows: NDArray[np.bool_]) -> Outcomes:
    """What a run did, and rows [n] of it as if it had broken them: nobody attacks those again."""
    return replace(found, attacked=np.where(rows, found.labels + 1, found.attacked))


class Undone(Exception):
    """The attack that a rule needs failed."""
