"""Access: the networks that one knowledge opens on one deployed defense, and the passes through them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from bench.api import Deployed, FeatureLoss, Features, Loss, Objective, Suspected, SuspicionLoss
from bench.core.threat import Feedback, Knowledge, Source
from bench.core.traits import CLIMBS_VICTIM
from bench.errors import AccessDenied
from bench.evaluate.bypass import features_of, passing_over
from bench.evaluate.numerics import Numerics
from bench.evaluate.prepared import EXAMPLES, Prepared, as_laid_out, lay_out, prepare
from bench.evaluate.referee import turned_away
from bench.nn.tf32 import tf32

_OF_VICTIM = CLIMBS_VICTIM | {Source.CLASSIFIER}
"""Whose gradients are through networks of the deployed defense."""


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

    `others` holds the networks that are not the victim: twins, undefended twins, surrogates. On the first
    eight of `images` [n, C, H, W] it is decided now in which layout these networks compute, and whether what
    is climbed is folded; without images, on the first that anybody asks about.
    """

    def __init__(
        self,
        deployed: Deployed,
        knowledge: Knowledge,
        others: Mapping[Source, nn.Module],
        numerics: Numerics,
        compiled: bool = False,
        images: Tensor | None = None,
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
        self._ready: Prepared | None = None
        self._unit: Tensor | None = None
        for network in (self.climbed, self.answering):
            if network is not None:
                network.eval().requires_grad_(False)
        if images is not None:
            self._prepared(images)

    @property
    def refused(self) -> str | None:
        """Why the BatchNorms of what is climbed are not folded; None: they are, or there are none to fold."""
        return None if self._ready is None else self._ready.refused

    def gradients(
        self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient, loss and logits of one pass over a batch, averaged over EOT samples."""
        self._prepared(x)
        total = self._one(loss, x, labels)
        for _ in range(self.samples - 1):
            total = tuple(a + b for a, b in zip(total, self._one(loss, x, labels), strict=True))
        gradient, each, logits = total if self.samples == 1 else (part / self.samples for part in total)
        return gradient, each, logits

    def answer(self, x: Tensor) -> Tensor:
        """Logits [m, K] of what answers queries."""
        if self.answering is None:
            raise AccessDenied(f"{self.knowledge.label} answers nothing")
        self._prepared(x)
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
        network = self._prepared(x).network
        with self._arithmetic(x.device):
            logits: Tensor = network(x).float()
        if x.requires_grad and not logits.requires_grad:
            raise NoDerivative
        return logits

    def features(self, x: Tensor) -> Features:
        """What is climbed makes of x [m, C, H, W], with the graph back to x; of one EOT sample."""
        if self.climbed is None:
            raise AccessDenied(f"{self.knowledge.label} gives no gradients, so no features either")
        self._prepared(x)
        with self._arithmetic(x.device):
            return features_of(self.climbed, x)

    @torch.no_grad()
    def seen(self, x: Tensor) -> Tensor:
        """[m, D]: what the last layer of the climbed network is given."""
        return self.features(x).features.float().flatten(1)

    def _prepared(self, images: Tensor) -> Prepared:
        """What gradients are computed with: decided by the first images that there are, and kept."""
        if self._ready is None:
            network = self.answering if self.climbed is None else self.climbed
            if network is None:
                raise AccessDenied(f"{self.knowledge.label} opens no network")
            few = images[:EXAMPLES].detach()
            channels_last = self.numerics.channels_last and lay_out(self._opened(), few)
            fold = self.numerics.fold and self.climbed is not None
            ready = prepare(network, few, fold, channels_last)
            if self.compiled:  # of any number of images: the standing become fewer
                ready = replace(ready, network=cast(nn.Module, torch.compile(ready.network, dynamic=True)))
            self._ready = ready
        return self._ready

    def _opened(self) -> tuple[nn.Module, ...]:
        """What is climbed and what answers; of the deployed defense every network, for they share weights."""
        deployed, found = self._deployed, [self.climbed, self.answering]
        if self.queries_victim or self.knowledge.gradients in _OF_VICTIM:
            found += [deployed.predict, deployed.classifier, deployed.attackable, passing_over(deployed)]
        return tuple(dict.fromkeys(network for network in found if network is not None))

    def _one(self, loss: Loss | None, x: Tensor, labels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = as_laid_out(x, self._prepared(x).channels_last).detach().requires_grad_()
        with torch.enable_grad(), self._arithmetic(x.device):
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
        if isinstance(loss, FeatureLoss):
            lent = self.features(x)
            return lent.logits.float(), loss(lent, *labels)
        logits = self.differentiable(x)
        if isinstance(loss, SuspicionLoss):
            if self.suspicion is None:
                raise AccessDenied("this defense states no suspicion, so there is none to climb")
            return logits, loss(Suspected(logits, self.suspicion(x).float()), *labels)
        return logits, loss(logits, *labels)

    def _one_each(self, each: Tensor) -> Tensor:
        """Ones [n]: the gradient of the sum, without a kernel to sum or to fill."""
        if self._unit is None or self._unit.dtype is not each.dtype:
            self._unit = torch.ones((), dtype=each.dtype, device=each.device)
        return self._unit.expand_as(each)

    def _arithmetic(self, device: torch.device) -> AbstractContextManager[None]:
        """What passes that are climbed are computed in."""
        if self.numerics.precision == "tf32" and device.type == "cuda":
            return tf32(True)
        return torch.autocast(device.type, torch.bfloat16, enabled=self.numerics.precision == "bf16")


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
