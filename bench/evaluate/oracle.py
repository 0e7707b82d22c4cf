"""The oracle: all that an attack may ask, charged to each example and limited by its knowledge."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.api import Climb, Loss
from bench.core.threat import Feedback
from bench.errors import AccessDenied, QueriesSpent
from bench.evaluate.access import Access
from bench.evaluate.as_module import AsModule
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger, Meter, crowd_of
from bench.evaluate.numerics import Numerics as Numerics  # where the specifications of runs look for it
from bench.evaluate.referee import Referee, decision


class MeteredOracle:
    """The oracle of `bench.api`, with a ledger; `rows` are this view's examples among the ledger's."""

    def __init__(
        self,
        access: Access,
        referee: Referee,
        ledger: Ledger,
        batches: Batches,
        rows: Tensor | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.knowledge = access.knowledge
        self.num_classes = ledger.logits.shape[1]
        self._access, self._referee, self._ledger, self._batches = access, referee, ledger, batches
        self._meter = meter or Meter(referee, ledger, looks=access.knows_victim)
        self._rows = torch.arange(len(ledger.y), device=ledger.y.device) if rows is None else rows
        # of those who stand no row can come more often; without a limit nobody asks
        self._crowd = 1 if rows is None or access.limit is None else crowd_of(rows)
        self._standing: Tensor | None = None  # positions in this view; None: all of them
        self._standing_rows = self._rows
        self._seen_changes = -1
        self._broken = self._last_loss = self._last_logits = ledger.loss  # of this view, at the last change

    def only(self, rows: Tensor) -> MeteredOracle:
        """The same oracle for some of its examples (indices [m]); queries stay charged to each."""
        return MeteredOracle(
            self._access, self._referee, self._ledger, self._batches, self._rows[rows], self._meter
        )

    def broken(self) -> Tensor:
        """[n] bool: examples for which a success is confirmed."""
        self._meter.settle()
        return self._ledger.broken[self._rows]

    def witnesses(self, x: Tensor) -> Tensor:
        """[n, C, H, W]: the image that broke each example, as the referee projected it; x for the others."""
        broken = self.broken()[:, None, None, None]
        return torch.where(broken, self._ledger.witness[self._rows].to(x.dtype), x)

    def logits(self, x: Tensor) -> Tensor:
        """[n, K], one query per example; broken examples get their last answer free of charge.

        So do those who have spent their queries, as long as somebody here has not.
        """
        if self._access.queries_victim and self.knowledge.feedback is Feedback.LABELS:
            raise AccessDenied(f"{self.knowledge.label} answers labels, not logits")
        return self._ask(x, self._access.answer)

    def labels(self, x: Tensor) -> Tensor:
        """[n] int64, or REFUSED where the deployed defense turns an image away; one query per example."""
        return decision(self._ask(x, self._access.decided))

    def features(self, x: Tensor) -> Tensor:
        """[n, D], what the last layer of the climbed network sees; one query each, zeros for the broken."""
        standing, rows, (asked,) = self._select(x)
        found = self._batches.map(self._access.seen, asked)
        self._ledger.charge(rows, 1)
        if standing is None:
            return found
        return found.new_zeros(len(x), found.shape[1]).index_copy_(0, standing, found)

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        """One forward and one backward per example; averaged over EOT samples."""
        if self._access.climbed is None:
            raise AccessDenied(f"{self.knowledge.label} gives no gradients")
        standing, rows, (asked, *given) = self._select(x, *labels)
        ledger, samples = self._ledger, self._access.samples
        if len(rows) == 0:
            return self._finished(x)
        gradient, each, logits = self._batches.map_many(
            lambda part, *rest: self._access.gradients(loss, part, rest), asked, *given
        )
        ledger.charge(rows, samples, samples, gradient.flatten(1).any(dim=1))
        before = ledger.changes
        self._meter.watch(rows, asked, logits, each, samples)
        broken = self._broken
        if ledger.changes != before:
            gradient[ledger.broken[rows]] = 0
            broken = ledger.broken[self._rows]
        if standing is not None:
            gradient = torch.zeros_like(x).index_copy_(0, standing, gradient)
            each = self._last_loss.index_copy(0, standing, each.to(ledger.loss.dtype))
            logits = self._last_logits.index_copy(0, standing, logits)
        return Climb(gradient, each, logits, broken)

    def lend(self, eot: bool = True) -> nn.Module:
        """The defense as other people's attacks expect it; no `eot` for those that average themselves."""
        samples = self._access.samples if eot else 1
        return AsModule(self._access, self._meter, self._batches, self._rows, self._referee.budget, samples)

    def _finished(self, x: Tensor) -> Climb:
        ledger, rows = self._ledger, self._rows
        return Climb(torch.zeros_like(x), ledger.loss[rows], ledger.logits[rows], ledger.broken[rows])

    def _ask(self, x: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
        if self._access.answering is None:
            raise AccessDenied(f"{self.knowledge.label} answers nothing")
        standing, rows, (asked,) = self._select(x)
        ledger, limit = self._ledger, self._access.limit
        if len(rows) == 0:
            self._refuse(limit)
            return ledger.logits[self._rows]
        allowed = None if limit is None else ledger.affordable(rows, limit, self._crowd)
        if allowed is not None and not bool(allowed.all()):
            kept = allowed.nonzero().squeeze(1)
            standing, rows, asked = kept if standing is None else standing[kept], rows[kept], asked[kept]
        with torch.no_grad():
            logits = self._batches.map(answer, asked)
        ledger.charge(rows, 1)
        self._meter.watch(rows, asked, logits, None, 1)
        if limit is not None:
            ledger.logits[rows] = logits  # whoever spends the last query now gets this answer from here on
            ledger.exhaust(limit)
        if standing is None:
            return logits
        last = self._last_logits if limit is None else ledger.logits[self._rows]
        return last.index_copy(0, standing, logits)

    def _refuse(self, limit: int | None) -> None:
        if limit is not None and bool(self._ledger.exhausted[self._rows].any()):
            raise QueriesSpent(f"{self.knowledge.label} allows {limit} queries per example")

    def _select(self, *tensors: Tensor) -> tuple[Tensor | None, Tensor, tuple[Tensor, ...]]:
        """Positions of the standing examples in this view, their rows in the ledger, and their inputs."""
        ledger = self._ledger
        if self._seen_changes != ledger.changes:
            self._seen_changes = ledger.changes
            self._standing, self._standing_rows = None, self._rows
            self._broken = ledger.broken[self._rows]
            if ledger.changes:
                self._last_loss, self._last_logits = ledger.loss[self._rows], ledger.logits[self._rows]
                standing = (~(ledger.broken | ledger.exhausted)[self._rows]).nonzero().squeeze(1)
                if len(standing) < len(self._rows):
                    self._standing, self._standing_rows = standing, self._rows[standing]
        if self._standing is None:
            return None, self._rows, tensors
        return self._standing, self._standing_rows, tuple(tensor[self._standing] for tensor in tensors)
