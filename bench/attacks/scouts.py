"""Attackers that look each in a way of its own, and give more effort to what is nearer to a mistake.

Beside each other they tell what they may all have missed; see bench.core.doubt. In rounds of successive
halving (Karnin, Koren & Somekh, ICML 2013) each round gives three times the effort to that half of the
examples which have come nearest to a mistake. (Twice the effort would make rounds cost the same; but where
gradients mislead, nine of ten examples that break at all are among the nearest tenth.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Loss, Needs, Oracle
from bench.attacks import geometry
from bench.attacks.apgd import TargetedAPGD, ascend
from bench.attacks.fast import BestSoFar, climbed
from bench.attacks.losses import margin, most_confusing, probability_margin, targeted_dlr
from bench.attacks.norms import require_norm
from bench.attacks.parameters import require_between, require_count
from bench.attacks.square import search_from
from bench.core.threat import LINF_L2, Budget, Norm

Round = Callable[[Oracle, Tensor, int, BestSoFar], BestSoFar]
"""(oracle for m examples, their rows [m], the round from 0, their best images so far) -> their best now"""

MORE = 3
"""How many times the effort of a round the next one gives to each of its examples."""

LAST = 300
"""Steps of the last climb of all: some mistakes are so small that shorter ones pass them by."""

LEAST = 4
"""Examples that a round keeps where half of those before would be fewer."""


@dataclass(frozen=True)
class TargetScout(Attack):
    """Auto-PGD on the targeted DLR loss, each target from another random point.

    The first round takes the `targets` likeliest wrong classes of the clean image, each later one the next.
    Afterwards the `finalists` nearest to a mistake get what AutoAttack gives to all: every target, 100 steps;
    and those that still stand go on from their best image for 300 steps, towards the class it is nearest to.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"

    targets: int = 3
    steps: int = 15  # for each target, in the first round
    rounds: int = 1
    finalists: int = 0

    def __post_init__(self) -> None:
        require_count("TargetScout", "targets", self.targets)
        require_count("TargetScout", "steps", self.steps)
        require_count("TargetScout", "rounds", self.rounds)
        require_count("TargetScout", "finalists", self.finalists, least=0)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        clean, others = oracle.logits(x), oracle.num_classes - 1

        def climb(held: Oracle, rows: Tensor, number: int, best: BestSoFar) -> BestSoFar:
            for turn in range(min(self.targets, others)):
                rank = (number * self.targets + turn) % others + 1
                labels = (y[rows], most_confusing(clean[rows], y[rows], rank))
                start = geometry.random_start(x[rows], budget, generator)
                found = ascend(held, targeted_dlr, labels, start, x[rows], budget, self.steps * MORE**number)
                best = best.after(found, margin(held.logits(found), y[rows]))
            return best

        def reach(held: Oracle, rows: Tensor, number: int, best: BestSoFar) -> BestSoFar:
            if number == 0:
                found = TargetedAPGD()(held, x[rows], y[rows], budget, generator)
            else:
                labels = (y[rows], most_confusing(held.logits(best.x), y[rows], 1))
                found = ascend(held, targeted_dlr, labels, best.x, x[rows], budget, LAST)
            return best.after(found, margin(held.logits(found), y[rows]))

        best = halved(oracle, x, self.rounds, climb)
        for number in range(2 if self.finalists else 0):
            rows = nearest(oracle, best, self.finalists)
            if len(rows):
                best = best.with_rows(rows, reach(oracle.only(rows), rows, number, best.of(rows)))
        return best.x


@dataclass(frozen=True)
class RestartScout(Attack):
    """Climb the probability margin by steps that fall along a cosine, from random points.

    A later round begins at more points: where gradients mislead, many short climbs break more than few long
    ones.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"

    restarts: int = 2  # in the first round
    steps: int = 10  # of each
    rounds: int = 1

    def __post_init__(self) -> None:
        require_count("RestartScout", "restarts", self.restarts)
        require_count("RestartScout", "steps", self.steps)
        require_count("RestartScout", "rounds", self.rounds)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)

        def climb(held: Oracle, rows: Tensor, number: int, best: BestSoFar) -> BestSoFar:
            clean, labels = x[rows], y[rows]
            times = self.restarts * MORE**number
            return restarted(
                held, probability_margin, clean, labels, best, budget, generator, times, self.steps
            )

        return halved(oracle, x, self.rounds, climb).x


@dataclass(frozen=True)
class SearchScout(Attack):
    """Change squares of each image by random search, from the best that short climbs of the margin reached.

    The climbs begin at random points; without climbs the search begins at one. Each round goes on from the
    best image, by the whole schedule of shares; see `bench.attacks.square`.
    """

    norms: ClassVar[tuple[Norm, ...]] = LINF_L2
    needs: ClassVar[Needs] = "gradients"

    steps: int = 10  # of each climb
    climbs: int = 1
    queries: int = 150  # of the search, in the first round
    share: float = 0.1  # of the pixels that a round changes at first
    rounds: int = 1

    def __post_init__(self) -> None:
        require_count("SearchScout", "steps", self.steps, least=0)
        require_count("SearchScout", "climbs", self.climbs)
        require_count("SearchScout", "queries", self.queries)
        require_between("SearchScout", "share", self.share, 0, 1)
        require_count("SearchScout", "rounds", self.rounds)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]."""
        require_norm(self, budget)
        start = BestSoFar.before(x)
        start = restarted(oracle, margin, x, y, start, budget, generator, self.climbs, self.steps)

        def search(held: Oracle, rows: Tensor, number: int, best: BestSoFar) -> BestSoFar:
            clean, labels = x[rows], y[rows]
            if number == 0:
                best = best.after(start.x[rows], start.margin[rows])
            queries = self.queries * MORE**number
            found = search_from(
                *(held, best.x, best.margin, clean, labels, budget, generator),
                queries=queries,
                share=self.share,
            )
            return best.after(found, margin(held.logits(found), labels))

        return halved(oracle, x, self.rounds, search).x


def restarted(
    oracle: Oracle,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    best: BestSoFar,
    budget: Budget,
    generator: Generator,
    times: int,
    steps: int,
) -> BestSoFar:
    """The best after so many climbs from random points; without steps those points themselves."""
    for _ in range(times):
        start = geometry.random_start(x, budget, generator)
        found = climbed(oracle, loss, (y,), start, x, budget, steps)
        best = best.after(found, margin(oracle.logits(found), y))
    return best


def halved(oracle: Oracle, x: Tensor, rounds: int, play: Round) -> BestSoFar:
    """The best images [n, C, H, W] after rounds of which each plays on half as many examples.

    Those stay whose best image has the highest margin, broken ones left out; at least four where there are.
    """
    best, rows = BestSoFar.before(x), torch.arange(len(x), device=x.device)
    for number in range(rounds):
        if number:
            rows = nearest(oracle, best, max(LEAST, len(x) >> number), rows)
        if len(rows) == 0:
            break
        best = best.with_rows(rows, play(oracle.only(rows), rows, number, best.of(rows)))
    return best


def nearest(oracle: Oracle, best: BestSoFar, count: int, among: Tensor | None = None) -> Tensor:
    """The rows of at most `count` examples that stand and whose best image has the highest margin."""
    rows = torch.arange(len(best.x), device=best.x.device) if among is None else among
    rows = rows[~oracle.broken()[rows]]
    return rows[best.margin[rows].argsort(descending=True, stable=True)[:count]]
