"""The oracle: all that an attack may ask, charged to each example, limited by its knowledge, made fast."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.api import Climb, Deployed, Loss, Objective
from bench.core.outcomes import NEVER
from bench.core.threat import Feedback, Knowledge, Source
from bench.errors import AccessDenied, QueriesSpent
from bench.evaluate.batches import Batches
from bench.evaluate.referee import Referee
from bench.nn.fold import fold


@dataclass(frozen=True)
class Numerics:
    """How gradients are computed; verdicts are always in full precision on the original network."""

    fold: bool = True  # BatchNorm folded into the convolutions before it
    channels_last: bool = True
    precision: Literal["fp32", "bf16"] = "fp32"
    eot_samples: int = 20  # gradients averaged for a randomized defense


PLAIN = Numerics(fold=False, channels_last=False)
"""Every shortcut off."""


class Ledger:
    """What was spent on each of n examples, and the first confirmed success of each."""

    def __init__(self, x: Tensor, y: Tensor, num_classes: int) -> None:
        n, device = len(x), x.device
        self.x, self.y = x, y
        self.forwards = torch.zeros(n, dtype=torch.int64, device=device)
        self.backwards = torch.zeros(n, dtype=torch.int64, device=device)
        self.first_success = torch.full((n,), NEVER, dtype=torch.int64, device=device)
        self.broken = torch.zeros(n, dtype=torch.bool, device=device)
        self.witness = x.clone()
        self.witness_class = y.clone()
        self.logits = torch.zeros(n, num_classes, device=device)
        self.loss = torch.zeros(n, device=device)
        self.flat_gradients = torch.zeros(n, dtype=torch.int64, device=device)
        self.breaks = 0  # how often `broken` changed: views keep their index of the standing until then


class Access:
    """The networks that one knowledge opens on one deployed defense.

    `others` holds the networks that are not the victim: twins, undefended twins, surrogates.
    """

    def __init__(
        self,
        deployed: Deployed,
        knowledge: Knowledge,
        others: Mapping[Source, nn.Module],
        numerics: Numerics,
    ) -> None:
        self.knowledge = knowledge
        self.numerics = numerics
        self.climbs_victim = knowledge.gradients is Source.DEPLOYED
        self.queries_victim = knowledge.feedback is not Feedback.NOTHING
        self.randomized = deployed.randomized and self.climbs_victim
        self.objective: Objective | None = deployed.adaptive_loss if self.climbs_victim else None
        self.climbed = _climbed(deployed, knowledge.gradients, others)
        self.answering = deployed.predict if self.queries_victim else self.climbed
        self._fast: nn.Module | None = None  # what is climbed, folded when the first images are seen
        for network in (self.climbed, self.answering):
            if network is not None:
                network.eval().requires_grad_(False)
                if numerics.channels_last:  # another layout of the same weights
                    network.to(memory_format=torch.channels_last)

    def gradients(
        self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient, loss and logits of one pass over a batch, averaged over EOT samples."""
        samples = self.numerics.eot_samples if self.randomized else 1
        total = self._one(loss, x, labels)
        for _ in range(samples - 1):
            total = tuple(a + b for a, b in zip(total, self._one(loss, x, labels), strict=True))
        gradient, each, logits = total if samples == 1 else (part / samples for part in total)
        return gradient, each, logits

    def _one(self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self.climbed is None:
            raise AccessDenied(f"{self.knowledge.label} gives no gradients")
        if self._fast is None:
            layout = self.numerics.channels_last
            self._fast = fold(self.climbed, x[:2], layout) if self.numerics.fold else self.climbed
        if self.numerics.channels_last and x.shape[1] > 1:
            x = x.contiguous(memory_format=torch.channels_last)
        x = x.detach().requires_grad_()
        with torch.enable_grad(), self._autocast(x.device):
            logits = self._fast(x).float()
            if loss is not None:
                each = loss(logits, *labels)
            elif self.objective is not None:
                each = self.objective(x, labels[0]).float()
            else:
                raise AccessDenied("this defense states no adaptive_loss, so there is none to climb")
            (gradient,) = torch.autograd.grad(each.sum(), x, allow_unused=True, materialize_grads=True)
        return gradient.float().contiguous(), each.detach(), logits.detach()

    def _autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.numerics.precision == "bf16")


def _climbed(deployed: Deployed, source: Source, others: Mapping[Source, nn.Module]) -> nn.Module | None:
    if source is Source.NOTHING:
        return None
    if source is Source.DEPLOYED:
        return deployed.attackable or deployed.predict
    if source is Source.CLASSIFIER:
        return deployed.classifier or deployed.predict
    if source not in others:
        raise AccessDenied(f"no {source.value} network was prepared for this run")
    return others[source]


class MeteredOracle:
    """The oracle of `bench.api`, with a ledger; `rows` are this view's examples among the ledger's."""

    def __init__(
        self, access: Access, referee: Referee, ledger: Ledger, batches: Batches, rows: Tensor | None = None
    ) -> None:
        self.knowledge = access.knowledge
        self.num_classes = ledger.logits.shape[1]
        self._access, self._referee, self._ledger, self._batches = access, referee, ledger, batches
        self._rows = torch.arange(len(ledger.y), device=ledger.y.device) if rows is None else rows
        self._whole = rows is None
        self._standing: Tensor | None = None  # positions in this view; None: all of them
        self._seen_breaks = -1

    def only(self, rows: Tensor) -> MeteredOracle:
        """The same oracle for some of its examples (indices [m]); queries stay charged to each."""
        return MeteredOracle(self._access, self._referee, self._ledger, self._batches, self._rows[rows])

    def broken(self) -> Tensor:
        """[n] bool: examples for which a success is confirmed."""
        return self._ledger.broken[self._rows]

    def logits(self, x: Tensor) -> Tensor:
        """[n, K], one query per example; broken examples get their last answer free of charge."""
        if self._access.queries_victim and self.knowledge.feedback is Feedback.LABELS:
            raise AccessDenied(f"{self.knowledge.label} answers labels, not logits")
        return self._ask(x)

    def labels(self, x: Tensor) -> Tensor:
        """[n] int64, one query per example."""
        return self._ask(x).argmax(dim=1)

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        """One forward and one backward per example; averaged over EOT samples."""
        if self._access.climbed is None:
            raise AccessDenied(f"{self.knowledge.label} gives no gradients")
        standing, rows, (asked, *given) = self._select(x, *labels)
        ledger, samples = self._ledger, self._samples()
        if len(rows):
            gradient, each, logits = self._batches.map_many(
                lambda part, *rest: self._access.gradients(loss, part, rest), asked, *given
            )
            self._charge(rows, samples, samples)
            ledger.logits[rows], ledger.loss[rows] = logits, each.to(ledger.loss.dtype)
            ledger.flat_gradients[rows] += samples * (gradient.flatten(1).abs().amax(dim=1) == 0)
            if self._access.climbs_victim:
                fresh = self._confirm(rows, asked, logits)
                if fresh is not None:
                    gradient[fresh] = 0
        else:
            gradient = torch.zeros_like(asked)
        if standing is not None:
            gradient = torch.zeros_like(x).index_copy_(0, standing, gradient)
        return Climb(gradient, self._view(ledger.loss), self._view(ledger.logits), self._view(ledger.broken))

    def _samples(self) -> int:
        return self._access.numerics.eot_samples if self._access.randomized else 1

    def _view(self, column: Tensor) -> Tensor:
        return column.clone() if self._whole else column[self._rows]

    def _ask(self, x: Tensor) -> Tensor:
        if self._access.answering is None:
            raise AccessDenied(f"{self.knowledge.label} answers nothing")
        _, rows, (asked,) = self._select(x)
        if len(rows):
            self._limit(rows)
            with torch.no_grad():
                logits = self._batches.map(lambda part: self._access.answering(part).float(), asked)  # type: ignore[misc]
            self._charge(rows, 1, 0)
            self._ledger.logits[rows] = logits
            if self._access.queries_victim:
                self._confirm(rows, asked, logits)
        return self._view(self._ledger.logits)

    def _select(self, *tensors: Tensor) -> tuple[Tensor | None, Tensor, tuple[Tensor, ...]]:
        """Positions of the standing examples in this view, their rows in the ledger, and their inputs."""
        ledger = self._ledger
        if self._seen_breaks != ledger.breaks:
            self._seen_breaks = ledger.breaks
            self._standing = None
            if ledger.breaks:
                standing = (~ledger.broken[self._rows]).nonzero().squeeze(1)
                self._standing = None if len(standing) == len(self._rows) else standing
        if self._standing is None:
            return None, self._rows, tensors
        return (
            self._standing,
            self._rows[self._standing],
            tuple(tensor[self._standing] for tensor in tensors),
        )

    def _charge(self, rows: Tensor, forwards: int, backwards: int) -> None:
        self._ledger.forwards[rows] += forwards
        self._ledger.backwards[rows] += backwards

    def _limit(self, rows: Tensor) -> None:
        limit = self.knowledge.max_queries
        if limit is not None and self._access.queries_victim:
            spent = int(self._ledger.forwards[rows].max())
            if spent >= limit:
                raise QueriesSpent(f"{self.knowledge.label} allows {limit} queries per example")

    def _confirm(self, rows: Tensor, x: Tensor, logits: Tensor) -> Tensor | None:
        """Have the referee judge what looks like a success; positions among `rows` that are broken now."""
        ledger = self._ledger
        suspects = (logits.argmax(dim=1) != ledger.y[rows]).nonzero().squeeze(1)
        if len(suspects) == 0:
            return None
        candidates = rows[suspects]
        verdict = self._referee.judge(x[suspects], ledger.x[candidates])
        wrong = _fools(verdict.classes, ledger.y[candidates]) & ~verdict.invalid
        fresh = candidates[wrong]
        ledger.broken[fresh] = True
        ledger.witness[fresh] = verdict.x[wrong]
        ledger.witness_class[fresh] = verdict.classes[wrong]
        ledger.first_success[fresh] = ledger.forwards[fresh]
        ledger.breaks += 1
        return suspects[wrong]


def _fools(classes: Tensor, y: Tensor) -> Tensor:
    """Wrong and not refused: turning an attack away is a success of the defense."""
    return (classes != y) & (classes >= 0)
