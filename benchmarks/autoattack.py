"""AutoAttack through the oracle over pyautoattack by itself: time and verdicts, with the same seeds."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pyautoattack
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Generator, Tensor, nn

from bench.api import Deployed
from bench.attacks.others.adapter import seeded
from bench.core.outcomes import Outcomes
from bench.core.threat import Budget, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.registry import SUITES
from benchmarks.timing import Row, Settings, take_turns
from benchmarks.training import random_network, task

SEED = 0
BUDGET = Budget(Norm.LINF, Fraction(3, 20))
_OURS, _ALONE = "AutoAttack through the oracle", "pyautoattack by itself"


def measure(settings: Settings) -> list[Row]:
    """`small_cnn`, fitted to digits for seconds by one-step adversarial training; one round."""
    n = settings.batch // 2
    x, y = (part.to(settings.device) for part in digits())
    settings.say("fitting a network")
    net = fitted(x[n:], y[n:])
    x, y = x[:n], y[:n]
    standing: dict[str, Tensor] = {}

    def ours() -> None:
        standing[_OURS] = through_the_oracle(net, x, y)

    def alone() -> None:
        standing[_ALONE] = by_itself(net, x, y)

    watch = take_turns({_OURS: ours, _ALONE: alone}, dataclasses.replace(settings, rounds=1))
    both = [f"{100 * float(standing[name].float().mean()):.1f}" for name in (_OURS, _ALONE)]
    different = int((standing[_OURS] != standing[_ALONE]).sum())
    note = f"robust {both[0]} and {both[1]} % of {n}; {different} verdicts differ"
    return [watch.row("autoattack", _OURS, _ALONE, note=note)]


def through_the_oracle(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """[n] bool: who stands after the four columns of `autoattack@1`, as a run plays them."""
    arena = Arena(Deployed(net), BUDGET, 10, {}, Numerics(), Batches(len(x)), seed=0)
    chunk = Chunk(0, x, y, torch.arange(len(x)))
    before: Outcomes | None = None
    for trial in SUITES.get("autoattack").trials:
        cell = play(arena, trial, chunk, SEED, before)
        if cell.outcomes is None:
            raise RuntimeError(cell.error)
        before = cell.outcomes
    if before is None:
        raise RuntimeError("autoattack@1 has no columns")
    return torch.as_tensor(before.robust, device=x.device)


def by_itself(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The same by the package's own loop, as its users call it."""
    with seeded(Generator(x.device).manual_seed(SEED)) as seed:
        whole = pyautoattack.AutoAttack(net, eps=BUDGET.radius, device=str(x.device), seed=seed)
        found = whole.run_standard_evaluation(x, y, batch_size=len(x))
    found = found[0] if isinstance(found, tuple) else found
    with torch.no_grad():
        return net(found).argmax(dim=1) == y


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images [n, 3, 8, 8] with labels, shuffled."""
    held = load_digits()
    order = torch.randperm(len(held.target), generator=Generator().manual_seed(0))
    x = torch.tensor(held.images, dtype=torch.float32).unsqueeze(1).expand(-1, 3, -1, -1) / 16
    return x[order].contiguous(), torch.tensor(held.target)[order]


def fitted(x: Tensor, y: Tensor) -> nn.Module:
    """Twelve epochs of FGSM training from a random start."""
    net = random_network(task("small_cnn", 8)).to(x.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    generator = Generator().manual_seed(0)
    radius = BUDGET.radius
    for _ in range(12):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            clean, labels = x[rows], y[rows]
            noise = radius * (2 * torch.rand(clean.shape, generator=generator).to(x.device) - 1)
            start = (clean + noise).clamp(0, 1).requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(net(start), labels), start)
            moved = (start.detach() + radius * slope.sign() - clean).clamp(-radius, radius)
            optimizer.zero_grad()
            F.cross_entropy(net((clean + moved).clamp(0, 1)), labels).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)
