"""What an audit puts to the test: a deployed defense, test images, and the attack its number rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.pgd import PGD
from bench.core.outcomes import Outcomes
from bench.core.seeds import seed_for
from bench.core.threat import WHITE_BOX, Budget, Source
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, part_of, play
from bench.evaluate.oracle import Numerics

SHARE_OF_RANDOMIZED = 5
"""A randomized defense costs many passes for each gradient: it is looked at on a fifth of the examples."""


@dataclass(frozen=True)
class Subject:
    """A defense with all that the rules need to attack it."""

    deployed: Deployed
    budget: Budget
    num_classes: int
    chunk: Chunk  # the first examples of its run
    identity: str  # names the random streams
    attack: PGD = field(default_factory=lambda: PGD(steps=50))  # the strongest of the run
    times: int = 1  # how often that was restarted
    found: Outcomes | None = None  # what the run did to the chunk's examples; None: this attack was not in it
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
        )

    def few(self, n: int) -> Chunk:
        """The first n examples, fewer of a randomized defense."""
        n = max(1, n // SHARE_OF_RANDOMIZED) if self.deployed.randomized else n
        held = self.chunk
        return Chunk(held.number, held.x[:n], held.y[:n], held.ids[:n])

    def left(self, n: int) -> Outcomes:
        """What the attack did to the same n examples: in its run, or now where that is not known.

        Raises:
            Undone: the attack failed.
        """
        chunk = self.few(n)
        if self.found is not None:
            return part_of(self.found, 0, len(chunk.y))
        cell = play(self.arena(), Trial("pgd", self.attack, WHITE_BOX), chunk, seed_for(self.identity, "pgd"))
        if cell.outcomes is None:
            raise Undone(str(cell.error))
        return cell.outcomes

    def standing(self, n: int) -> Chunk:
        """The first n examples that the attack left, of five times as many."""
        chunk = self.few(5 * n)
        left = torch.as_tensor(self.left(5 * n).robust, device=chunk.y.device)
        rows = left.nonzero().squeeze(1)[: len(self.few(n).y)]
        return Chunk(chunk.number, chunk.x[rows], chunk.y[rows], chunk.ids[rows])

    def generator(self, seed: int) -> torch.Generator:
        """A random stream on the images' device."""
        return torch.Generator(self.chunk.x.device).manual_seed(seed)


class Undone(Exception):
    """The attack that a rule needs failed."""
