"""A cascade that reaches the verdicts of long ensembles with few of their passes, and says where it may not.

First the ladder: the surest losses for a few steps. Then the probe: random restarts and a warm-started random
search. Where the probe breaks what the ladder left, gradients mislead; there, and where too few are left to
tell, the siege goes on with far more.

Margin losses: Carlini & Wagner, S&P 2017; targets ranked by the clean image's logits: Gowal et al., 2019; few
cosine steps on a probability margin: Ma et al., CVPR 2025; random search: Andriushchenko et al., ECCV 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Loss, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.combine import Attempt, attack_standing
from bench.attacks.losses import margin, most_confusing, probability_margin, targeted_margin
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count
from bench.attacks.square import search_from
from bench.core.threat import LINF_L2, Budget, Norm


@dataclass(frozen=True)
class Ladder(Attack):
    """Climb the margin, then the margin towards each of the likeliest wrong classes, from the clean image.

    Costs `steps` gradients for each of the 1 + `targets` climbs of an example that stands, and one query
    between two of them.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"

    steps: int = 10
    targets: int = 3

    def __post_init__(self) -> None:
        require_count("Ladder", "steps", self.steps)
        require_count("Ladder", "targets", self.targets, least=0)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; nothing is random."""
        require_norm(self, budget)
        first = oracle.climb(margin, x, y)  # its logits rank the targets

        def untargeted(held: Oracle, rows: Tensor) -> Tensor:
            gradient = first.gradient[rows]
            return climbed(held, margin, (y[rows],), x[rows], x[rows], budget, self.steps, gradient)

        def towards(rank: int) -> Attempt:
            target = most_confusing(first.logits, y, rank)

            def attempt(held: Oracle, rows: Tensor) -> Tensor:
                labels = (y[rows], target[rows])
                return climbed(held, targeted_margin, labels, x[rows], x[rows], budget, self.steps)

            return attempt

        ranks = range(1, min(self.targets, oracle.num_classes - 1) + 1)
        return attack_standing(oracle, x, y, [untargeted, *(towards(rank) for rank in ranks)])


@dataclass(frozen=True)
class Probe(Attack):
    """Look for what gradients from the clean image miss: random restarts, then random search from the best.

    Each restart climbs the probability margin; the search begins at the image of highest margin so far and
    changes squares of each image's own.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"

    restarts: int = 3
    steps: int = 10
    queries: int = 200  # of the random search, per example
    share: float = 0.1  # of the pixels that the search changes at first

    def __post_init__(self) -> None:
        require_count("Probe", "restarts", self.restarts)
        require_count("Probe", "steps", self.steps)
        require_count("Probe", "queries", self.queries)
        require_between("Probe", "share", self.share, 0, 1)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        best = BestSoFar.before(x)
        for _ in range(self.restarts):
            start = geometry.random_start(x, budget, generator)
            found = climbed(oracle, probability_margin, (y,), start, x, budget, self.steps)
            best = best.after(found, margin(oracle.logits(found), y))
        return search_from(
            oracle, best.x, best.margin, x, y, budget, generator, queries=self.queries, share=self.share
        )


@dataclass(frozen=True)
class Siege(Attack):
    """Where gradients mislead: far more for the examples closest to a mistake, and on to the next closest.

    Examples are ranked by the margin that a few restarts reach, and taken in that order, a block at a time.
    A block gets rounds of targeted restarts and a long random search from the best of them, until a round
    breaks nothing or it has had all of them: three rounds of the default are more than AutoAttack spends on
    an example that survives it (7,850 forwards and 1,910 backwards). A block of which nothing breaks ends the
    siege: whoever is farther from a mistake is left to the probe's verdict.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"

    block: float = 0.1  # of the examples, at least 16
    rounds: int = 3
    targets: int = 9
    steps: int = 100
    queries: int = 2100  # of the random search, per example and round
    share: float = 0.3  # of the pixels that the search changes at first
    sighting: Probe = field(default_factory=lambda: Probe(queries=1))  # ranks the examples

    def __post_init__(self) -> None:
        require_between("Siege", "block", self.block, 0, 1)
        require_count("Siege", "rounds", self.rounds)
        require_count("Siege", "targets", self.targets)
        require_count("Siege", "steps", self.steps)
        require_count("Siege", "queries", self.queries)
        require_between("Siege", "share", self.share, 0, 1)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        clean = oracle.logits(x)
        x_adv = self.sighting(oracle, x, y, budget, generator)
        closest = margin(oracle.logits(x_adv), y).argsort(descending=True)
        closest = closest[~oracle.broken()[closest]]
        for rows in torch.split(closest, max(16, math.ceil(self.block * len(closest)))):
            held = oracle.only(rows)
            found = self._storm(held, x[rows], y[rows], clean[rows], budget, generator)
            x_adv = x_adv.index_copy(0, rows, found)
            if not bool(held.broken().any()):
                break
        return x_adv

    def _storm(
        self, oracle: Oracle, x: Tensor, y: Tensor, clean: Tensor, budget: Budget, generator: Generator
    ) -> Tensor:
        """All rounds on one block, until one of them breaks nothing."""
        standing, kept, fallen = len(x), x, torch.zeros_like(y, dtype=torch.bool)
        for _ in range(self.rounds):
            best = BestSoFar.before(x)
            for rank in range(1, min(self.targets, oracle.num_classes - 1) + 1):
                start = geometry.random_start(x, budget, generator)
                labels = (y, most_confusing(clean, y, rank))
                found = climbed(oracle, targeted_margin, labels, start, x, budget, self.steps)
                best = best.after(found, margin(oracle.logits(found), y))
            found = search_from(
                oracle, best.x, best.margin, x, y, budget, generator, queries=self.queries, share=self.share
            )
            kept = torch.where(fallen[:, None, None, None], kept, found)
            fallen = oracle.broken()
            left = int((~fallen).sum())
            if left in (0, standing):
                break
            standing = left
        return kept


@dataclass(frozen=True)
class BestSoFar:
    """The image of highest margin so far, of each example."""

    x: Tensor  # [n, C, H, W]
    margin: Tensor  # [n]

    @classmethod
    def before(cls, x: Tensor) -> BestSoFar:
        """The clean images [n, C, H, W], whose margin nobody has asked for."""
        return cls(x, x.new_full((len(x),), -torch.inf))

    def after(self, x: Tensor, reached: Tensor) -> BestSoFar:
        """With other images [n, C, H, W] where their margin [n] is higher."""
        better = reached > self.margin
        kept = torch.where(better, reached, self.margin)  # not maximum, by which one NaN would stay for ever
        return BestSoFar(torch.where(better[:, None, None, None], x, self.x), kept)

    def of(self, rows: Tensor) -> BestSoFar:
        """Those of some examples (indices [m])."""
        return BestSoFar(self.x[rows], self.margin[rows])

    def with_rows(self, rows: Tensor, found: BestSoFar) -> BestSoFar:
        """With others for some examples (indices [m])."""
        return BestSoFar(self.x.index_copy(0, rows, found.x), self.margin.index_copy(0, rows, found.margin))


def climbed(
    oracle: Oracle,
    loss: Loss,
    labels: tuple[Tensor, ...],
    start: Tensor,
    x: Tensor,
    budget: Budget,
    steps: int,
    gradient: Tensor | None = None,
) -> Tensor:
    """Steepest ascent with steps eps (1 + cos(pi k / steps)); the last iterate [n, C, H, W].

    `gradient` at the start, where it is known, saves a pass.
    """
    x_adv, project = start, geometry.projector(x, budget)
    for step in range(steps):
        if gradient is None:
            gradient = oracle.climb(loss, x_adv, *labels).gradient
        size = 1 + math.cos(math.pi * step / steps)
        x_adv = project(geometry.steepest_step(x_adv, gradient, budget, size))
        gradient = None
    return x_adv
