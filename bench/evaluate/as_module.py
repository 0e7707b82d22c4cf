"""The defense lent to other people's attacks: a network to call and to differentiate, charged and watched.

Their code cuts batches as it likes and never says which example an image belongs to: `Attribution` finds
out. Where it can only guess, the defense is asked again even for the broken, so a mistake moves a charge to a
neighbour and can neither hold up an attack nor make a success: the referee judges an image against the very
example that it was taken for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.core.outcomes import REFUSED
from bench.core.threat import Budget, Feedback
from bench.errors import AccessDenied, QueriesSpent
from bench.evaluate.access import Access
from bench.evaluate.attribution import Attribution
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Meter
from bench.evaluate.referee import decision


class AsModule(nn.Module):
    """Logits [m, K] for images [m, C, H, W]; every pass is charged, and what fools the defense is kept.

    Images of broken examples are answered with the answer that broke them, free of charge. Where the
    knowledge allows labels only, answers are one-hot, and what the defense turns away is told as right: other
    people's code knows no refusal, and to be refused is no success. A gradient that the knowledge does not
    allow is refused when it is asked for.
    """

    def __init__(
        self, access: Access, meter: Meter, batches: Batches, rows: Tensor, budget: Budget, samples: int
    ) -> None:
        super().__init__()
        self._access, self._meter, self._batches, self._rows = access, meter, batches, rows
        self._samples = samples  # passes that each differentiated answer is the mean of
        self._attribution = Attribution(meter.ledger.x[rows], budget)
        self._local = self._asked = rows.new_empty(0)  # the last attribution, and its rows in the ledger
        self._refused = 0
        self._labels_only = access.queries_victim and access.knowledge.feedback is Feedback.LABELS
        self._answer = access.decided if self._labels_only else access.answer
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits; one-hot answers where the knowledge allows labels only."""
        if torch.is_grad_enabled() and x.requires_grad and self._access.climbed is not None:
            logits: Tensor = _Charged.apply(x, self)
            return logits
        answered = _Refused.apply(x) if torch.is_grad_enabled() and x.requires_grad else x
        logits = self._answered(answered.detach())
        if self._labels_only:
            logits = self._one_hot(logits)
        return logits + 0 * answered.flatten(1)[:, :1] if answered.requires_grad else logits

    def train(self, mode: bool = True) -> AsModule:
        """There is no other mode than eval: nobody outside may change a defense."""
        return super().train(False)

    @torch.no_grad()
    def _answered(self, x: Tensor) -> Tensor:
        ledger, limit = self._meter.ledger, self._access.limit
        rows, standing, asked_rows = self._select(x)
        if len(asked_rows) == 0:
            self._refuse(rows, limit)
            return ledger.logits[rows]
        asked = x if standing is None else x[standing]
        allowed = None if limit is None else ledger.affordable(asked_rows, limit)
        if allowed is not None and not bool(allowed.all()):
            kept = allowed.nonzero().squeeze(1)
            standing = kept if standing is None else standing[kept]
            asked_rows, asked = asked_rows[kept], asked[kept]
        logits = self._batches.map(self._answer, asked)
        ledger.charge(asked_rows, 1)
        self._look(asked_rows, asked, logits)
        if limit is not None:
            still = ~ledger.broken[asked_rows]  # what broke an example stays its answer
            ledger.logits[asked_rows[still]] = logits[still]
            ledger.exhaust(limit)
            self._refused = 0
        return logits if standing is None else ledger.logits[rows].index_copy(0, standing, logits)

    def _one_hot(self, logits: Tensor) -> Tensor:
        """Labels as scores, for the images asked about last."""
        classes = decision(logits)
        classes = torch.where(classes == REFUSED, self._meter.ledger.y[self._asked], classes)
        return nn.functional.one_hot(classes, logits.shape[1]).to(logits.dtype)

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Everyone's rows in the ledger; positions of those who stand (None: all) and their rows."""
        ledger = self._meter.ledger
        local, guessed = self._attribution(x.detach())
        if self._local is not local:
            self._local, self._asked = local, self._rows[local]
        rows = self._asked
        if guessed is not None:
            ledger.shared[self._rows] |= self._attribution.shared
        if not ledger.changes:
            return rows, None, rows
        broken = ledger.broken[rows] if guessed is None else ledger.broken[rows] & ~guessed
        ledger.misled[rows[broken]] = True
        standing = (~(broken | ledger.exhausted[rows])).nonzero().squeeze(1)
        return (rows, None, rows) if len(standing) == len(rows) else (rows, standing, rows[standing])

    def _look(self, rows: Tensor, x: Tensor, logits: Tensor) -> None:
        """Have successes looked for among images that keep to the budget: the others prove nothing."""
        suspects = (logits.argmax(1) != self._meter.ledger.y[rows]).nonzero().squeeze(1)
        if len(suspects) == 0:
            return
        found = rows[suspects]
        kept = suspects[self._attribution.inside(x[suspects], self._positions(found))]
        if len(kept):
            self._meter.watch(rows[kept], x[kept].clone(), logits[kept], None, 0)
            self._meter.settle()

    def _positions(self, rows: Tensor) -> Tensor:
        """Where rows of the ledger stand among this view's."""
        whole = torch.empty(len(self._meter.ledger.y), dtype=torch.int64, device=rows.device)
        whole[self._rows] = torch.arange(len(self._rows), device=rows.device)
        return whole[rows]

    def _refuse(self, rows: Tensor, limit: int | None) -> None:
        ledger = self._meter.ledger
        if limit is None or not bool(ledger.exhausted[rows].any()):
            return
        self._refused += 1
        if bool((ledger.exhausted | ledger.broken)[self._rows].all()) or self._refused > limit:
            raise QueriesSpent(f"{self._access.knowledge.label} allows {limit} queries per example")


class _Charged(torch.autograd.Function):
    """A pass through the defense whose gradient is charged when it is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lent: AsModule) -> Tensor:
        access, ledger = lent._access, lent._meter.ledger
        rows, standing, asked_rows = lent._select(x)
        asked = (x if standing is None else x[standing]).detach()
        ctx.lent, ctx.standing, ctx.rows, ctx.like = lent, standing, asked_rows, x
        ctx.parts = []
        if len(asked_rows) == 0:
            return ledger.logits[rows]
        means = []
        for part in torch.split(asked, lent._batches.size):
            leaf = part.clone().requires_grad_()
            with torch.enable_grad():
                samples = [access.differentiable(leaf) for _ in range(lent._samples)]
                mean = samples[0] if len(samples) == 1 else torch.stack(samples).mean(0)
            ctx.parts.append((leaf, mean))
            means.append(mean.detach())
        logits = torch.cat(means)
        ledger.charge(asked_rows, lent._samples)
        if access.knows_victim:
            lent._look(asked_rows, asked, logits)
        return logits if standing is None else ledger.logits[rows].index_copy(0, standing, logits)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (given,) = outputs
        lent, standing, x = ctx.lent, ctx.standing, ctx.like
        if not ctx.parts:
            return torch.zeros_like(x), None
        wanted = given if standing is None else given[standing]
        pieces, start = [], 0
        for leaf, logits in ctx.parts:
            (piece,) = torch.autograd.grad(
                logits,
                leaf,
                wanted[start : start + len(leaf)].to(logits.dtype),
                retain_graph=True,  # theirs may ask again, class by class
                allow_unused=True,
                materialize_grads=True,
            )
            pieces.append(piece)
            start += len(leaf)
        gradient = torch.cat(pieces).to(x.dtype)
        lent._meter.ledger.charge(ctx.rows, 0, lent._samples, gradient.flatten(1).any(dim=1))
        if standing is not None:
            gradient = torch.zeros_like(x).index_copy_(0, standing, gradient)
        return gradient, None


class _Refused(torch.autograd.Function):
    """An image that answers may depend on, but of which no gradient is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Tensor:
        raise AccessDenied("this knowledge gives no gradients, and the attack asked for one")
