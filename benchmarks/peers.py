"""PGD here and in other libraries: the same network, images, steps and step size; no random start."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Generator, Tensor, nn

from bench.api import Deployed
from bench.attacks.others.signature import Given, OthersAttack
from bench.attacks.pgd import PGD
from bench.core.encoding import override
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN, Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from bench.registry import ATTACKS
from benchmarks.timing import Row, Settings, take_turns
from benchmarks.training import random_images, random_network, task

STEPS = 5
BUDGET = Budget(Norm.LINF, Fraction(6, 255))  # at which about half of a random network's images break
STEP = BUDGET.radius / 4

PEERS = {
    "torchattacks": (
        "torchattacks",
        "torchattacks:PGD",
        {"alpha": STEP, "steps": STEPS, "random_start": False},
    ),
    "Foolbox": (
        "foolbox",
        "foolbox:LinfPGD",
        {"abs_stepsize": STEP, "rel_stepsize": None, "steps": STEPS, "random_start": False},
    ),
    "ART": (
        "art",
        "art:ProjectedGradientDescentPyTorch",
        {"eps_step": STEP, "max_iter": STEPS, "batch_size": 1024},
    ),
    "adv-lib": (
        "adv_lib",
        "advlib:pgd_linf",
        {"absolute_step_size": STEP, "relative_step_size": None, "steps": STEPS, "random_init": False},
    ),
}
"""Name -> its package, the attack, and how it makes these very steps."""

REFERENCE = "torchattacks"

Run = Callable[[], Tensor]
"""Nothing -> adversarial images."""


def measure(settings: Settings) -> list[Row]:
    """ResNet-18 on 32x32 images; each library as its users call it, on the bare network."""
    of = task("resnet18")
    net = random_network(of).to(settings.device)
    n = settings.batch // 4
    x, _ = random_images(of, n).batch(torch.arange(n))
    x = x.to(settings.device)
    with torch.no_grad():
        y = net(x).argmax(dim=1)
    works: dict[str, Run] = {
        "PGD, ours": ours(net, x, y, Numerics()),
        "PGD, ours, no folding": ours(net, x, y, PLAIN),
    }
    missing = []
    for name, (package, attack, steps) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            missing.append(name)
        else:
            works[f"PGD, {name}"] = theirs(net, x, y, attack, steps)
    settings.say("warming up")
    left = {name: _standing(net, work(), y) for name, work in works.items()}
    watch = take_turns(works, settings)
    over = f"PGD, {REFERENCE}"
    rows = [
        watch.row("peers", name, over, bar=1.0 if name.startswith("PGD, ours") else None, note=left[name])
        for name in works
    ]
    return rows + [Row("peers", f"PGD, {name}", over, None, note="not installed") for name in missing]


def ours(net: nn.Module, x: Tensor, y: Tensor, numerics: Numerics) -> Run:
    """As an evaluation runs it: what is broken costs no more, and every success is confirmed."""
    deployed, batches = Deployed(net), Batches(len(x))
    access = Access(deployed, WHITE_BOX, {}, numerics)  # once for a whole evaluation
    attack = PGD(steps=STEPS, random_start=False)

    def run() -> Tensor:
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        ledger = Ledger(x, y, 10)
        oracle = MeteredOracle(access, Referee(deployed, BUDGET, batches), ledger, batches)
        found = attack(oracle, x, y, BUDGET, Generator(x.device).manual_seed(0))
        return torch.where(ledger.broken[:, None, None, None], ledger.witness, found)

    return run


def theirs(net: nn.Module, x: Tensor, y: Tensor, name: str, steps: dict[str, object]) -> Run:
    """As the library's own users run it, on a network whose parameters they did not freeze."""
    attack = override(ATTACKS.get(name), steps)
    if not isinstance(attack, OthersAttack):
        raise TypeError(f"{name} is no attack of another library")

    def run() -> Tensor:
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        net.zero_grad(set_to_none=True)
        found: Tensor = attack.attack(net, x, y, Given(BUDGET, 10, 0))
        return found

    return run


@torch.no_grad()
def _standing(net: nn.Module, x_adv: Tensor, y: Tensor) -> str:
    return f"robust {100 * float((net(x_adv).argmax(1) == y).float().mean()):.1f} %"
