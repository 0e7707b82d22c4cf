"""The oracle: all that an attack may ask, charged to each example, limited by its knowledge, made fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from bench.api import Climb, Deployed, Features, Loss, Objective
from bench.attacks.aware import Suspected
from bench.core.threat import Feedback, Knowledge, Source
from bench.core.traits import CLIMBS_VICTIM
from bench.errors import AccessDenied, QueriesSpent
from bench.evaluate.batches import Batches
from bench.evaluate.bypass import features_of, passing_over
from bench.evaluate.ledger import Ledger, Meter
from bench.evaluate.lending import Lent
from bench.evaluate.referee import Referee, decision, turned_away
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


class NoDerivative(Exception):
    """What is climbed answers without a graph back to the images: a fault of the defense, in one sentence."""

    def __init__(self) -> None:
        super().__init__(
            "the defense answers without a derivative, expected logits with a graph back to the images; "
            "give Deployed an `attackable` for BPDA, or attack its scores: --suite blackbox"
        )


def samples_of(deployed: Deployed, numerics: Numerics) -> int:
    """How many passes a gradient of this defense is the mean of: 1 unless it is randomized.

    What its authors state, unless the user chose a number: one that is not the harness's own.
    """
    if not deployed.randomized:
        return 1
    chosen = numerics.eot_samples != Numerics().eot_samples
    return numerics.eot_samples if chosen else deployed.eot_samples or numerics.eot_samples


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
        compiled: bool = False,
    ) -> None:
        self.knowledge = knowledge
        self.compiled = compiled
        self.numerics = numerics
        self._deployed = deployed
        self.climbs_victim = knowledge.gradients in CLIMBS_VICTIM
        self.queries_victim = knowledge.feedback is not Feedback.NOTHING
        self.knows_victim = self.climbs_victim or self.queries_victim  # so it learns of its successes
        self.limit = knowledge.max_queries if self.queries_victim else None
        self.samples = samples_of(deployed, numerics) if _of_the_defense(deployed, knowledge) else 1
        self.objective: Objective | None = deployed.adaptive_loss if self.climbs_victim else None
        self.suspicion = deployed.suspicion if self.climbs_victim else None
        self.climbed = _climbed(deployed, knowledge.gradients, others)
        self.answering = deployed.predict if self.queries_victim else self.climbed
        self._fast: nn.Module | None = None  # what is climbed, folded when the first images are seen
        self._unit: Tensor | None = None
        for network in (self.climbed, self.answering):
            if network is not None:
                network.eval().requires_grad_(False)
                if numerics.channels_last:  # another layout of the same weights
                    network.to(memory_format=torch.channels_last)

    def gradients(
        self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient, loss and logits of one pass over a batch, averaged over EOT samples."""
        total = self._one(loss, x, labels)
        for _ in range(self.samples - 1):
            total = tuple(a + b for a, b in zip(total, self._one(loss, x, labels), strict=True))
        gradient, each, logits = total if self.samples == 1 else (part / self.samples for part in total)
        return gradient, each, logits

    def answer(self, x: Tensor) -> Tensor:
        """Logits [m, K] of what answers queries."""
        if self.answering is None:
            raise AccessDenied(f"{self.knowledge.label} answers nothing")
        logits: Tensor = self.answering(x).float()
        return logits

    def decided(self, x: Tensor) -> Tensor:
        """The same, but of an image that the deployed defense turns away no class is likely: all are -inf."""
        logits = self.answer(x)
        refused = turned_away(self._deployed, x) if self.queries_victim else None
        return logits if refused is None else logits.masked_fill(refused[:, None], -torch.inf)

    def differentiable(self, x: Tensor) -> Tensor:
        """Logits [m, K] of what is climbed, with their graph back to x; of one EOT sample."""
        if self.climbed is None:
            raise AccessDenied(f"{self.knowledge.label} gives no gradients")
        if self._fast is None:
            layout = self.numerics.channels_last
            self._fast = _folded(self.climbed, x[:2], layout) if self.numerics.fold else self.climbed
            if self.compiled:  # of any number of images: the standing become fewer
                self._fast = cast(nn.Module, torch.compile(self._fast, dynamic=True))
        with self._autocast(x.device):
            logits: Tensor = self._fast(x).float()
        if x.requires_grad and not logits.requires_grad:
            raise NoDerivative
        return logits

    def features(self, x: Tensor) -> Features:
        """What is climbed makes of x [m, C, H, W], with the graph back to x; of one EOT sample."""
        if self.climbed is None:
            raise AccessDenied(f"{self.knowledge.label} gives no gradients, so no features either")
        with self._autocast(x.device):
            return features_of(self.climbed, x)

    @torch.no_grad()
    def seen(self, x: Tensor) -> Tensor:
        """[m, D]: what the last layer of the climbed network is given."""
        return self.features(x).features.float().flatten(1)

    def _one(self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self.numerics.channels_last and x.shape[1] > 1:
            x = x.contiguous(memory_format=torch.channels_last)
        x = x.detach().requires_grad_()
        with torch.enable_grad(), self._autocast(x.device):
            logits, each = self._answered(loss, x, labels)
            (gradient,) = torch.autograd.grad(
                each, x, self._one_each(each), allow_unused=True, materialize_grads=True
            )
        return gradient.float().contiguous(), each.detach(), logits.detach()

    def _answered(self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Logits [m, K] and loss [m]; a loss says what it takes besides logits: features, or suspicion."""
        if loss is None:
            if self.objective is None:
                raise AccessDenied("this defense states no adaptive_loss, so there is none to climb")
            return self.differentiable(x), self.objective(x, labels[0]).float()
        if getattr(loss, "of_features", False):
            lent = self.features(x)
            return lent.logits.float(), loss(lent, *labels)
        logits = self.differentiable(x)
        if getattr(loss, "of_suspicion", False):
            if self.suspicion is None:
                raise AccessDenied("this defense states no suspicion, so there is none to climb")
            return logits, loss(Suspected(logits, self.suspicion(x).float()), *labels)
        return logits, loss(logits, *labels)

    def _one_each(self, each: Tensor) -> Tensor:
        """Ones [n]: the gradient of the sum, without a kernel to sum or to fill."""
        if self._unit is None or self._unit.dtype is not each.dtype:
            self._unit = torch.ones((), dtype=each.dtype, device=each.device)
        return self._unit.expand_as(each)

    def _autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.numerics.precision == "bf16")


def _folded(network: nn.Module, example: Tensor, layout: bool) -> nn.Module:
    """The network folded; what tracing left in one that keeps state, stand-ins among it, is taken out."""
    held = [(module, dict(vars(module)), dict(module._buffers)) for module in network.modules()]
    folded = fold(network, example.detach(), layout)
    for module, attributes, buffers in held:
        module._buffers.clear()
        module._buffers.update(buffers)
        vars(module).clear()
        vars(module).update(attributes)
    return folded


def _of_the_defense(deployed: Deployed, knowledge: Knowledge) -> bool:
    """Whether what is climbed is made like the deployed defense, so that it draws where that draws.

    A twin is; the bare classifier is where there is nothing around it.
    """
    if knowledge.gradients is Source.CLASSIFIER:
        return deployed.classifier is None
    return knowledge.gradients in CLIMBS_VICTIM or knowledge.gradients is Source.TWIN


def _climbed(deployed: Deployed, source: Source, others: Mapping[Source, nn.Module]) -> nn.Module | None:
    if source is Source.NOTHING:
        return None
    if source is Source.DEPLOYED:
        return deployed.attackable or deployed.predict
    if source is Source.BPDA:
        if (climbed := passing_over(deployed)) is None:
            raise AccessDenied("this defense states neither an attackable nor a purifier to pass over")
        return climbed
    if source is Source.CLASSIFIER:
        return deployed.classifier or deployed.predict
    if source not in others:
        raise AccessDenied(f"no {source.value} network was prepared for this run")
    return others[source]


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
        return Lent(self._access, self._meter, self._batches, self._rows, self._referee.budget, samples)

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
        allowed = None if limit is None else ledger.affordable(rows, limit)
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
