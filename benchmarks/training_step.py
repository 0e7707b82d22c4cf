"""A PGD-10 adversarial training step, over a naive loop and over the passes that it cannot do without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer

from bench.api import Task
from bench.core.threat import Budget
from bench.nn.fold import fold
from benchmarks.timing import Row, Settings, Stopwatch
from benchmarks.training import fit_paced, random_images, random_network, task
from defenses.pgd_at import PgdAt

STEPS = 10
_NAIVE = "naive .backward() loop, fp32"
_BARS = {"fp32": 0.65, "bf16": 0.40}


def measure(settings: Settings) -> list[Row]:
    """On 32x32 images, in fp32 and, where there is arithmetic for it, in bf16."""
    rows = _measure(settings, "fp32")
    if settings.bf16:
        return rows + _measure(settings, "bf16")
    ours, bare = _names("bf16")
    note = "no bf16 arithmetic here"
    return [
        *rows,
        Row("training_step", ours, _NAIVE, None, bar=_BARS["bf16"], note=note),
        Row("training_step", ours, bare, None, bar=1.10, note=note),
    ]


def _measure(settings: Settings, precision: Literal["fp32", "bf16"]) -> list[Row]:
    of = task(settings.architecture)
    batch = settings.batch // 2
    x, y = random_images(of, batch).batch(torch.arange(batch))
    x, y = x.to(settings.device), y.to(settings.device)
    naive, bare = naive_step(of, x, y), bare_passes(of, x, y, precision)
    watch = Stopwatch(settings.device)
    ours, limit = _names(precision)

    @contextmanager
    def around(number: int) -> Iterator[None]:
        if number == 0:  # the network is folded for the first time, memory is fetched
            settings.say(f"{precision}: warming up")
            bare(steps=1)
            yield
            return
        settings.say(f"{precision}: round {number} of {settings.rounds}")
        before, after = ((_NAIVE, naive), (limit, bare)) if number % 2 else ((limit, bare), (_NAIVE, naive))
        with watch.timing(before[0]):
            before[1]()
        with watch.timing(ours):
            yield
        with watch.timing(after[0]):
            after[1]()

    fit_paced(
        PgdAt(steps=STEPS, attack_mode="eval"),
        of,
        parents={},
        batch=batch,
        steps=1 + settings.rounds,
        precision=precision,
        device=settings.device,
        around=around,
    )
    return [
        watch.row("training_step", ours, _NAIVE, bar=_BARS[precision]),
        watch.row("training_step", ours, limit, bar=1.10),
    ]


def _names(precision: str) -> tuple[str, str]:
    return f"PGD-10 training step, {precision}", f"its own passes, bare, {precision}"


def naive_attack(net: nn.Module, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
    """PGD as it is often written: every step computes the gradient of every weight and throws it away."""
    radius = budget.radius
    low, high = (x - radius).clamp(min=0), (x + radius).clamp(max=1)
    x_adv = (x + radius * (2 * torch.rand(x.shape, generator=generator, device=x.device) - 1)).clamp(0, 1)
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        F.cross_entropy(net(x_adv), y).backward()
        if x_adv.grad is None:
            raise RuntimeError("the network's loss does not depend on its images")
        x_adv = (x_adv + radius / 4 * x_adv.grad.sign()).clamp(low, high)
    return x_adv.detach()


def naive_step(of: Task, x: Tensor, y: Tensor) -> Callable[[], None]:
    """The naive attack on the network in eval mode, then one training pass and the optimizer's step."""
    net = random_network(of).to(x.device)
    optimizer = _optimizer(net)
    generator = Generator(x.device).manual_seed(0)

    def work() -> None:
        net.eval()
        x_adv = naive_attack(net, x, y, of.budget, generator)
        _train(net, optimizer, x_adv, y)

    return work


def bare_passes(of: Task, x: Tensor, y: Tensor, precision: str) -> Callable[..., None]:
    """The passes of the product's step, with its numerics, from one fixed batch.

    Ten forwards with input gradients on a folded channels-last network, then one training pass and the
    optimizer's step on a network like it.
    """
    net = random_network(of).to(x.device).to(memory_format=torch.channels_last)
    optimizer = _optimizer(net)
    x = x.contiguous(memory_format=torch.channels_last)
    fixed = copy.deepcopy(net).requires_grad_(False)
    folded = fold(fixed, x[:2], channels_last=True)

    def autocast() -> AbstractContextManager[None]:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16")

    def work(steps: int = STEPS) -> None:
        for _ in range(steps):
            asked = x.detach().requires_grad_()
            with autocast():
                logits = folded(asked).float()
            torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), asked)
        _train(net, optimizer, x, y, autocast)

    return work


def _train(
    net: nn.Module,
    optimizer: Optimizer,
    x: Tensor,
    y: Tensor,
    autocast: Callable[[], AbstractContextManager[None]] | None = None,
) -> None:
    net.train()
    optimizer.zero_grad(set_to_none=True)
    if autocast is None:
        logits = net(x)
    else:
        with autocast():
            logits = net(x).float()
    F.cross_entropy(logits, y).backward()
    optimizer.step()


def _optimizer(net: nn.Module) -> Optimizer:
    return SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
