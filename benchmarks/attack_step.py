"""One PGD step as an evaluation makes it, over the forward and input gradient that it cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.api import Deployed
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN, Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from benchmarks.timing import Row, Settings, take_turns
from benchmarks.training import random_images, random_network, task

STEPS = 2  # of each measurement
FAINT = Budget(Norm.LINF, Fraction(8, 255 * 1000))
"""So small that nothing breaks: an example that breaks costs nothing more, and would flatter the step."""

_BARE = "bare forward + input gradient, fp32"
_PLAIN = "PGD step, fp32, no shortcuts"
_FP32 = "PGD step, fp32, folded, channels-last"
_BF16 = "PGD step, bf16, folded, channels-last"


def measure(settings: Settings) -> list[Row]:
    """On 32x32 images; all works share the network object and the batch."""
    of = task(settings.architecture)
    net = random_network(of).to(settings.device).requires_grad_(False)
    x, _ = random_images(of, settings.batch).batch(torch.arange(settings.batch))
    x = x.to(settings.device)
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    numerics = {_PLAIN: PLAIN, _FP32: Numerics()}
    if settings.bf16:
        numerics[_BF16] = Numerics(precision="bf16")
    works = {name: pgd(net, x, y, chosen) for name, chosen in numerics.items()}
    settings.say("warming up")
    for work in works.values():
        work()
    watch = take_turns({_BARE: lambda: bare(net, x, y), **works}, settings)
    rows = [
        watch.row("attack_step", _PLAIN, _BARE, bar=1.03),
        watch.row("attack_step", _FP32, _BARE),
    ]
    if settings.bf16:
        rows.append(watch.row("attack_step", _BF16, _BARE))
    else:
        rows.append(Row("attack_step", _BF16, _BARE, None, note="no bf16 arithmetic here"))
    return rows


def bare(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """As many passes as the attack makes, and nothing else."""
    for _ in range(STEPS):
        asked = x.detach().requires_grad_()
        loss = F.cross_entropy(net(asked), y, reduction="sum")
        torch.autograd.grad(loss, asked)


def pgd(net: nn.Module, x: Tensor, y: Tensor, numerics: Numerics) -> Callable[[], None]:
    """A whole PGD through the oracle of an evaluation, from its random start to its last iterate."""
    deployed, batches = Deployed(net), Batches(len(x))
    access = Access(deployed, WHITE_BOX, {}, numerics)
    referee = Referee(deployed, FAINT, batches)
    attack = PGD(steps=STEPS)

    def work() -> None:
        ledger = Ledger(x, y, 10)
        oracle = MeteredOracle(access, referee, ledger, batches)
        attack(oracle, x, y, FAINT, Generator(x.device).manual_seed(0))
        if int(ledger.backwards.min()) != STEPS:
            raise RuntimeError("an example broke, so that its later steps were free: the ratio would flatter")

    return work
