"""Adversarial images to look at: every attack goes on to its last step, whatever it has broken by then.

The engine stops at the first success of an example and keeps that image, which lies just across the boundary.
What papers draw is what an attack returns after all its steps, for all examples, so that is made here: with
the networks that the knowledge opens, BPDA and EOT included, and judged by the same referee.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.api import Attack, Climb, Loss, Oracle
from bench.attacks.streams import seeded
from bench.core.threat import Feedback, Knowledge
from bench.errors import AccessDenied
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena
from bench.evaluate.referee import Verdict
from bench.nn.tf32 import tf32


@dataclass
class Unstopped:
    """The oracle of `bench.api` without a ledger: nothing is charged, and nothing is ever known as broken."""

    access: Access
    batches: Batches
    num_classes: int
    unbroken: Tensor  # [n] bool, all False

    def __post_init__(self) -> None:
        self.knowledge: Knowledge = self.access.knowledge

    def only(self, rows: Tensor) -> Oracle:
        """The same oracle for some of its examples (indices [m])."""
        return replace(self, unbroken=self.unbroken[rows])

    def broken(self) -> Tensor:
        """[n] bool, all False."""
        return self.unbroken

    def witnesses(self, x: Tensor) -> Tensor:
        """What is given: nothing is ever broken."""
        return x

    def logits(self, x: Tensor) -> Tensor:
        """[n, K] of the network that answers."""
        if self.access.queries_victim and self.knowledge.feedback is Feedback.LABELS:
            raise AccessDenied(f"{self.knowledge.label} answers labels, not logits")
        return self._answers(x)

    def labels(self, x: Tensor) -> Tensor:
        """[n] int64."""
        return self._answers(x).argmax(dim=1)

    def features(self, x: Tensor) -> Tensor:
        """[n, D], what the last layer of the climbed network sees."""
        return self.batches.map(self.access.seen, x)

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        """One forward and one backward per example; averaged over EOT samples."""
        gradient, each, logits = self.batches.map_many(
            lambda part, *rest: self.access.gradients(loss, part, rest), x, *labels
        )
        return Climb(gradient, each, logits, self.unbroken)

    def lend(self, eot: bool = True) -> nn.Module:
        """Refused: what is lent is watched, and stops answering about what is broken."""
        raise AccessDenied("an oracle that never stops lends no network to other people's attacks")

    @torch.no_grad()
    def _answers(self, x: Tensor) -> Tensor:
        network = self.access.answering
        if network is None:
            raise AccessDenied(f"{self.knowledge.label} answers nothing")
        return self.batches.map(lambda part: network(part).float(), x)


@tf32(False)
def adversarial_images(
    arena: Arena, attack: Attack, knowledge: Knowledge, x: Tensor, y: Tensor, seed: int
) -> Verdict:
    """What an attack makes of all images [n, C, H, W], judged; everything random comes from `seed`."""
    generator = torch.Generator(x.device).manual_seed(seed)
    with seeded(seed, x.device):
        nothing = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        oracle: Oracle = Unstopped(arena.access(knowledge), arena.batches, arena.num_classes, nothing)
        return arena.referee.judge(attack(oracle, x, y, arena.budget, generator), x)
