"""PGD-20 where examples that break stop costing, over PGD-20 that goes on with all of them."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Generator, Tensor, nn

from bench.api import Deployed
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from bench.train.inner import attack_network
from benchmarks.timing import Row, Settings, take_turns
from benchmarks.training import random_images, random_network, task

EXAMPLES = 128
SIDE = 16
STEPS = 20
BROKEN = 0.6  # the share that shall break
_WITH, _WITHOUT = "PGD-20 with early exit", "PGD-20 without"


def measure(settings: Settings) -> list[Row]:
    """A small network on 16x16 images; its labels are what it says of the clean images."""
    of = task("wide_resnet_10_1", SIDE)
    net = random_network(of).to(settings.device).requires_grad_(False)
    x, _ = random_images(of, EXAMPLES).batch(torch.arange(EXAMPLES))
    x = x.to(settings.device)
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    settings.say(f"looking for the radius at which {BROKEN:.0%} break")
    budget = _budget(net, x, y)
    ledger = _leaving(net, x, y, budget)
    works = {_WITH: lambda: _leaving(net, x, y, budget), _WITHOUT: lambda: _staying(net, x, y, budget)}
    watch = take_turns(works, settings)
    broken = float(ledger.broken.float().mean())
    passes = float(ledger.backwards.float().mean()) / STEPS
    note = f"{broken:.0%} broke; {passes:.2f} of the passes"
    return [watch.row("early_exit", _WITH, _WITHOUT, note=note)]


def _leaving(net: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Ledger:
    deployed, batches = Deployed(net), Batches(len(x))
    ledger = Ledger(x, y, 10)
    access = Access(deployed, WHITE_BOX, {}, PLAIN)
    oracle = MeteredOracle(access, Referee(deployed, budget, batches), ledger, batches)
    PGD(steps=STEPS)(oracle, x, y, budget, Generator(x.device).manual_seed(0))
    return ledger


def _staying(net: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
    generator = Generator(x.device).manual_seed(0)
    return attack_network(net, PGD(steps=STEPS), x, y, budget=budget, generator=generator, num_classes=10)


def _budget(net: nn.Module, x: Tensor, y: Tensor) -> Budget:
    """The radius at which about the wanted share breaks, by bisection."""
    low, high = Fraction(0), Fraction(64, 255)
    while True:
        budget = Budget(Norm.LINF, (low + high) / 2)
        share = float(_leaving(net, x, y, budget).broken.float().mean())
        if abs(share - BROKEN) < 0.03 or high - low < Fraction(1, 25500):
            return budget
        low, high = (budget.eps, high) if share < BROKEN else (low, budget.eps)
