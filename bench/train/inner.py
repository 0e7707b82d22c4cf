"""The attack inside adversarial training: an oracle without a ledger, on a frozen network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Generator, Tensor, nn

from bench.api import Attack, AttackMode, Climb, Loss, Oracle
from bench.core.threat import WHITE_BOX, Budget, Knowledge
from bench.errors import AccessDenied, BadValue
from bench.nn.fold import Folded
from bench.train.model import Autocast, unwrap


def attack_network(
    net: nn.Module,
    attack: Attack,
    x: Tensor,
    *labels: Tensor,
    budget: Budget,
    generator: Generator,
    num_classes: int,
    autocast: Autocast = nullcontext,
    folded: nn.Module | None = None,
    loss_scale: float = 1.0,
    mode: AttackMode = "eval",
) -> Tensor:
    """Adversarial images [B, C, H, W] of a network, detached; see `FitContext.attack`.

    The first of the labels is the attack's y, which may have any shape [B, ...]; further ones follow those
    that the attack gives to its loss. `folded`, a faster copy of the network in eval mode from
    `bench.nn.fold`, is refreshed and used in its stead.
    """
    if not labels:
        raise TypeError("an attack needs at least one tensor of labels")
    net = unwrap(net)
    with frozen(net, mode):
        if isinstance(folded, Folded):
            folded.refresh()
        y, *more = labels
        nothing = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        oracle: Oracle = InnerOracle(
            net if folded is None else folded, num_classes, nothing, autocast, tuple(more), loss_scale
        )
        return attack(oracle, x.detach(), y, budget, generator).detach()


@contextmanager
def frozen(net: nn.Module, mode: AttackMode = "eval") -> Iterator[None]:
    """The network without gradients for its parameters, in eval mode or as it trains.

    Each module's own mode comes back afterwards, and in the mode "batch" each buffer.
    """
    if mode not in get_args(AttackMode):
        raise BadValue(f"the mode is {mode!r}, expected one of {', '.join(get_args(AttackMode))}")
    modes = [(module, module.training) for module in net.modules()]
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    kept = buffers_of(net) if mode == "batch" else None
    if mode == "eval":
        net.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training
        put_back(net, kept)


def buffers_of(net: nn.Module) -> list[Tensor]:
    """Copies of a network's buffers, BatchNorm's running statistics above all."""
    return [buffer.clone() for buffer in net.buffers()]


def put_back(net: nn.Module, kept: list[Tensor] | None) -> None:
    """Give a network the buffers that `buffers_of` copied; None: leave them."""
    for buffer, then in zip(net.buffers(), kept, strict=True) if kept is not None else ():
        # past autograd: a pass whose backward is to come used the batch's statistics, never these
        buffer.data.copy_(then)


@dataclass
class InnerOracle:
    """White-box answers of a network that nobody charges for; nothing is ever known to be broken."""

    net: nn.Module  # frozen
    num_classes: int
    unbroken: Tensor  # [n] bool, all False
    autocast: Autocast = nullcontext
    more_labels: tuple[Tensor, ...] = ()  # [n, ...] each, appended to what the attack gives to its loss
    loss_scale: float = 1.0  # keeps float16 gradients from vanishing
    knowledge: Knowledge = WHITE_BOX

    def only(self, rows: Tensor) -> Oracle:
        """The same oracle for some of its examples (indices [m])."""
        more = tuple(labels[rows] for labels in self.more_labels)
        return replace(self, unbroken=self.unbroken[rows], more_labels=more)

    def broken(self) -> Tensor:
        """[n] bool, all False."""
        return self.unbroken

    def witnesses(self, x: Tensor) -> Tensor:
        """What is given: nothing is ever broken."""
        return x

    def logits(self, x: Tensor) -> Tensor:
        """[n, K] float32."""
        with torch.no_grad(), self.autocast():
            logits: Tensor = self.net(x)
        return logits.float()

    def labels(self, x: Tensor) -> Tensor:
        """[n] int64."""
        return self.logits(x).argmax(1)

    def climb(self, loss: Loss | None, x: Tensor, *labels: Tensor) -> Climb:
        """One forward and one backward to the images."""
        if loss is None:
            raise AccessDenied("there is no adaptive loss while a defense trains; give the attack a loss")
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            with self.autocast():
                logits = self.net(x).float()
            losses = loss(logits, *labels, *self.more_labels)
            (gradient,) = torch.autograd.grad(losses.sum() * self.loss_scale, x)
        return Climb(gradient / self.loss_scale, losses.detach(), logits.detach(), self.unbroken)

    def features(self, x: Tensor) -> Tensor:
        """Refused: what trains has no fixed features to aim at."""
        raise AccessDenied("the oracle of an inner attack lends no features")

    def lend(self, eot: bool = True) -> nn.Module:
        """Refused: other people's attacks are not made for training."""
        raise AccessDenied("the oracle of an inner attack lends no network to other people's attacks")
