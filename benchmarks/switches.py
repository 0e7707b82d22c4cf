"""What each shortcut of an evaluation is worth: the same PGD with one of them off, or bf16 on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from bench.api import Deployed
from bench.attacks.pgd import PGD
from bench.core.threat import WHITE_BOX
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger, Meter
from bench.evaluate.numerics import Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from benchmarks.peers import BUDGET
from benchmarks.timing import Row, Settings, take_turns
from benchmarks.training import random_images, random_network, task

STEPS = 10
_USUAL = "as runs are: folding, channels-last, compaction, fp32"


def measure(settings: Settings) -> list[Row]:
    """PGD-10 on ResNet-18, 32x32; on some half of the images it succeeds early."""
    of, n = task("resnet18"), settings.batch // 4
    net = random_network(of).to(settings.device).requires_grad_(False)
    x = random_images(of, n).batch(torch.arange(n))[0].to(settings.device)
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    works = {
        _USUAL: attacked(net, x, y, Numerics()),
        "folding off": attacked(net, x, y, Numerics(fold=False)),
        "channels-last off": attacked(net, x, y, Numerics(channels_last=False)),
        "compaction off": attacked(net, x, y, Numerics(), compacts=False),
    }
    half = "bf16 on"
    if settings.bf16:
        works[half] = attacked(net, x, y, Numerics(precision="bf16"))
    settings.say("warming up")
    left = {name: f"robust {100 * float(work().float().mean()):.1f} %" for name, work in works.items()}
    watch = take_turns(works, settings)
    rows = [watch.row("switches", name, _USUAL, note=left[name]) for name in works if name != _USUAL]
    if not settings.bf16:
        rows.append(Row("switches", half, _USUAL, None, note="no bf16 arithmetic here"))
    return rows


def attacked(
    net: nn.Module, x: Tensor, y: Tensor, numerics: Numerics, compacts: bool = True
) -> Callable[[], Tensor]:
    """Work that attacks the images and gives who stands, [n] bool; without compaction all climb on."""
    deployed, batches = Deployed(net), Batches(len(x))
    referee = Referee(deployed, BUDGET, batches)
    access = Access(deployed, WHITE_BOX, {}, numerics)
    attack = PGD(steps=STEPS)

    def work() -> Tensor:
        # the layout is the network's own, and others here may have changed it
        layout = torch.channels_last if numerics.channels_last else torch.contiguous_format
        net.to(memory_format=layout)  # type: ignore[call-overload]
        ledger = Ledger(x, y, 10)
        meter = Meter(referee, ledger, looks=compacts)
        oracle = MeteredOracle(access, referee, ledger, batches, meter=meter)
        found = attack(oracle, x, y, BUDGET, Generator(x.device).manual_seed(0))
        return ~oracle.broken() & (referee.judge(found, x).classes == y)

    return work
