"""Attacks made of attacks, each working on what still stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Attack, Needs, Oracle
from bench.attacks.fgsm import FGSM
from bench.attacks.losses import fooled
from bench.attacks.parameters import require_count
from bench.attacks.pgd import PGD
from bench.core.threat import EVERY_NORM, Budget, Feedback, Norm
from bench.errors import BadValue

Attempt = Callable[[Oracle, Tensor], Tensor]
"""(oracle for m examples, their rows [m]) -> their candidates [m, C, H, W]"""


@dataclass(frozen=True)
class Restarts(Attack):
    """Run an attack again, with other random draws, on the examples it has not broken."""

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM  # that what it is made of has, too
    needs: ClassVar[Needs] = "gradients"

    attack: Attack = field(default_factory=PGD)
    times: int = 5

    def __post_init__(self) -> None:
        require_count("Restarts", "times", self.times)

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; between two runs, one query for each example attacked."""
        attempt = _attempt(self.attack, x, y, budget, generator)
        return attack_standing(oracle, x, y, [attempt] * self.times)


@dataclass(frozen=True)
class Cascade(Attack):
    """Run attacks one after another, each on the examples that those before have not broken."""

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM  # that what it is made of has, too
    needs: ClassVar[Needs] = "gradients"

    attacks: tuple[Attack, ...] = (FGSM(), PGD())

    def __post_init__(self) -> None:
        if not self.attacks:
            raise BadValue(
                "Cascade.attacks is empty, expected at least one attack", "attacks=(FGSM(), PGD())"
            )

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """Candidates [n, C, H, W]; between two attacks, one query for each example attacked."""
        attempts = [_attempt(attack, x, y, budget, generator) for attack in self.attacks]
        return attack_standing(oracle, x, y, attempts)


def attack_standing(oracle: Oracle, x: Tensor, y: Tensor, attempts: Sequence[Attempt]) -> Tensor:
    """The confirmed success on each example, else what fooled first, else the last candidate; [n, C, H, W].

    An example stands until a success on it is confirmed. Where the defense answers nothing (a transfer), none
    ever is: there it stands until the network that answers in its stead is fooled.
    """
    x_adv = x
    kept = torch.zeros_like(y, dtype=torch.bool)  # rows whose candidate fooled the oracle
    unanswered = oracle.knowledge.feedback is Feedback.NOTHING
    for number, attempt in enumerate(attempts):
        rows = (~(kept if unanswered else oracle.broken())).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        held = oracle.only(rows)
        candidates = attempt(held, rows)
        # what fooled the network unconfirmed (it was refused, say) gives way to a success that is confirmed
        earlier = kept[rows] & ~held.broken()
        candidates = torch.where(earlier[:, None, None, None], x_adv[rows], candidates)
        x_adv = x_adv.index_copy(0, rows, candidates)
        if number < len(attempts) - 1:  # the last candidates are for the referee to judge
            kept = kept.index_copy(0, rows, kept[rows] | fooled(held.labels(candidates), y[rows]))
    return x_adv


def _attempt(attack: Attack, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Attempt:
    def attempt(held: Oracle, rows: Tensor) -> Tensor:
        return attack(held, x[rows], y[rows], budget, generator)

    return attempt
