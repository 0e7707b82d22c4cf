"""Has the attack that a number rests on converged: where its answers are random, beyond their noise."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.api import Attack, Climb, Loss, Oracle, Trial
from bench.attacks.losses import cross_entropy, lead_of_all
from bench.attacks.streams import seeded
from bench.audit.case import broken, kept, percent, unknown
from bench.audit.examined import Examined, Undone
from bench.core.metrics import proportion
from bench.core.seeds import seed_for
from bench.core.threat import EVERY_NORM, WHITE_BOX, Budget, Knowledge, Norm
from bench.evaluate.engine import play
from bench.records.record import Check

LATE, SETTLED = 10, 0.05
"""An attack has converged if its loss rises by less than this share of its rise in so many last steps."""

DRAWS, SURE = 20, 1e-3
"""How often a randomized defense is asked again about an image, and below which p-value it is believed."""


def convergence(subject: Examined) -> Check:
    """A8: the loss of the run's attack has settled on most of the examples that the run left, of 100.

    Settled is the loss of an example whose best image so far rose, in the last 10 steps, by at most 5 % of
    its whole rise. One that never rose above where it began is stuck, which is no end of a climb either: of
    a plain defense whose loss is flat, or whose slope leads nowhere, most are.

    The number rests on what the run left, so nothing else is looked at. Where it rests on other attacks, for
    the run has no PGD or they broke more than that, a PGD that has not settled accuses nobody: the rule stays
    open. The answers of a randomized defense are noisy, and the best of ever more noisy answers
    rises for ever. So which image seemed best is taken from the attack, but how good it is, is asked again,
    in draws that had no part in choosing it; and an example counts as moving only where Student's one-sided
    t test of those draws says that its loss rose by more than that share (p < 0.001). That test, because the
    noise is measured, differs in size between images, and is nearly normal where each draw is the mean of
    all EOT samples. What is smaller than these draws can show is not seen here: A7 doubles the steps.

    "Most" is shown where the 95 % interval of their share lies above one half: four of four do, three do not.
    """
    (chunk, before), n = subject.left(100), len(subject.few(100).y)
    watched = Watched(subject.attack, keeps_images=subject.deployed.randomized)
    trial, seed = Trial("watched", watched, WHITE_BOX), seed_for(subject.identity, "watched")
    cell = play(subject.arena(), trial, chunk, seed, before)
    if cell.outcomes is None:
        raise Undone(str(cell.error))
    attacked = before.robust & cell.outcomes.correct
    rows = torch.as_tensor(cell.outcomes.robust[attacked]).nonzero().squeeze(1)
    steps = len(watched.losses)
    if len(rows) == 0:
        return kept("A8", f"the run, and PGD after it, leave none of {n} examples")
    if steps <= LATE:
        return _unsettled(subject, f"PGD has {steps} steps, too few to tell whether it would go on")
    moving, stuck = _moving(watched, rows, subject), _stuck(watched, rows, subject)
    figures = (
        f"over the last {LATE} of {steps} steps PGD's loss rises by more than {percent(SETTLED)} of its "
        f"whole rise on {int(moving.sum())} of {len(moving)} examples that stand"
    )
    if subject.deployed.randomized:
        figures += f", by {DRAWS} fresh draws for each and a t test at {SURE:g}"
    if bool(stuck.any()):
        figures += f"; it never rises on {int(stuck.sum())}"
    settled = all(proportion(held.numpy()).low <= 0.5 for held in (moving, stuck))
    return kept("A8", figures) if settled else _unsettled(subject, figures)


def _unsettled(subject: Examined, figures: str) -> Check:
    if subject.times and not subject.outdone:
        return broken("A8", figures)
    why = "its other columns broke more" if subject.times else "it has no PGD"
    return unknown("A8", f"{figures}; the run's number does not rest on that: {why}", None)


@dataclass
class Watched(Attack):
    """An attack with what it asked: its loss, all answers, and of the last steps the best images so far."""

    norms: ClassVar[tuple[Norm, ...]] = EVERY_NORM  # that the attack has, too

    attack: Attack
    keeps_images: bool = False
    losses: list[Tensor] = field(default_factory=list)  # [n] for each gradient
    loss: Loss | None = None  # what it climbed; None: the defense's own
    labels: tuple[Tensor, ...] = ()
    first: Tensor | None = None  # [n, C, H, W]
    best: deque[Tensor] = field(default_factory=lambda: deque(maxlen=LATE + 1))

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        """What the attack proposes."""
        return self.attack(_Watching(oracle, self), x, y, budget, generator)

    def note(self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...], answer: Tensor) -> None:
        """What was asked about images x, and the losses [n] that were answered."""
        if self.keeps_images:
            if self.first is None:
                self.loss, self.labels, self.first = loss, labels, x.clone()
                self.best.append(self.first)
            else:
                better = answer > torch.stack(self.losses).amax(0)
                self.best.append(torch.where(better[:, None, None, None], x, self.best[-1]))
        self.losses.append(answer)


class _Watching:
    """An oracle that tells what it is asked, and what it answers to gradients for all its examples."""

    def __init__(self, oracle: Oracle, watched: Watched) -> None:
        self._oracle, self._watched = oracle, watched
        self.knowledge: Knowledge = oracle.knowledge
        self.num_classes: int = oracle.num_classes

    def only(self, rows: Tensor) -> Oracle:
        return self._oracle.only(rows)

    def broken(self) -> Tensor:
        return self._oracle.broken()

    def witnesses(self, x: Tensor) -> Tensor:
        return self._oracle.witnesses(x)

    def logits(self, x: Tensor) -> Tensor:
        return self._oracle.logits(x)

    def labels(self, x: Tensor) -> Tensor:
        return self._oracle.labels(x)

    def features(self, x: Tensor) -> Tensor:
        return self._oracle.features(x)

    def lend(self, eot: bool = True) -> nn.Module:
        return self._oracle.lend(eot)

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        answer = self._oracle.climb(loss, x, *labels)
        self._watched.note(loss, x, labels, _unrounded(loss, answer, labels))
        return answer


def _unrounded(loss: Loss | None, answer: Climb, labels: tuple[Tensor, ...]) -> Tensor:
    """The losses [n]; cross-entropy as log(1 + exp(m)), m how far all wrong logits together are ahead.

    As log-sum-exp minus the logit it is 0 in float32 wherever a network is sure enough, though its gradient
    is not, and the attack climbs.
    """
    return F.softplus(lead_of_all(answer.logits, *labels)) if loss is cross_entropy else answer.loss


def _moving(watched: Watched, rows: Tensor, subject: Examined) -> Tensor:
    """[m] bool: which of these examples [m] of the attacked ones have a loss that has not settled."""
    if subject.deployed.randomized:
        return _surely_positive(_excess(*_asked_again(watched, rows, subject)))
    best = torch.stack(watched.losses).cpu()[:, rows].double().cummax(0).values
    return _excess(best[0], best[-1 - LATE], best[-1]) > 0


def _stuck(watched: Watched, rows: Tensor, subject: Examined) -> Tensor:
    """[m] bool: whose loss was never higher than at first; of a randomized defense nothing is said."""
    if subject.deployed.randomized:
        return torch.zeros(len(rows), dtype=torch.bool)
    asked = torch.stack(watched.losses).cpu()[:, rows]
    return asked.amax(0) <= asked[0]


def _excess(first: Tensor, before: Tensor, last: Tensor) -> Tensor:
    """By how much a loss rose more, since `before`, than its allowed share of the whole rise."""
    return last - before - SETTLED * (last - first)


def _asked_again(watched: Watched, rows: Tensor, subject: Examined) -> Iterator[Tensor]:
    """Losses [draws, m] of the first image, of the best before the last steps, and of the best of all."""
    access = subject.arena().access(WHITE_BOX)
    for name, images in (("first", watched.first), ("before", watched.best[0]), ("last", watched.best[-1])):
        assert images is not None
        rows = rows.to(images.device)
        x, labels = images[rows], tuple(given[rows] for given in watched.labels)
        with seeded(seed_for(subject.identity, "asked again", name), x.device):
            drawn = [
                subject.batches.map(
                    lambda part, *rest: access.gradients(watched.loss, part, rest)[1], x, *labels
                )
                for _ in range(DRAWS)
            ]
        yield torch.stack(drawn).cpu().double()


def _surely_positive(draws: Tensor) -> Tensor:
    """[m] bool: whose draws [k, m] have a mean above 0, by Student's one-sided t test."""
    from scipy.stats import t  # slow to load

    error: Tensor = draws.std(0) / len(draws) ** 0.5
    return draws.mean(0) > error * float(t.isf(SURE, len(draws) - 1))
