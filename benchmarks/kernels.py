"""Kernels that a step of an attack launches beside the network's, and how often the host waits for a GPU.

Counted by watching every operation on a linear network, as the difference between two numbers of steps; views
compute nothing and are left out. On a GPU small networks and thin batches cost what their launches cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.api import Attack, Deployed
from bench.attacks.apgd import APGD
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate import ledger as ledgers
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee
from benchmarks.timing import Row, Settings

MOST = 25
"""Kernels that a step may add to the network's own."""

FAINT = Budget(Norm.LINF, Fraction(1, 100_000))
VIEWS = ("view", "detach", "aten.t.", "expand", "slice", "select", "squeeze", "permute", "as_strided")
WAITS = ("nonzero", "_local_scalar_dense", "aten.equal", "masked_select")
FEW, MANY = 40, 80

Count = Callable[[int], Counter[str]]
"""Steps -> operations by name."""


class Kernels(TorchDispatchMode):
    """Counts operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not any(view in str(func) for view in VIEWS):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def measure(settings: Settings) -> list[Row]:
    """Ours with successes looked for as on a GPU, and the same attacks of other libraries."""
    rows = []
    usual = dict(ledgers.CHECKED_EVERY)
    ledgers.CHECKED_EVERY["cpu"] = ledgers.CHECKED_EVERY["cuda"]
    try:
        for name, make, backward in OURS:
            settings.say(name)
            found = per_step(lambda steps, make=make: ours(make(steps)))  # type: ignore[misc]
            kernels = sum(found.values()) - (2 if backward else 1)  # the linear network's own
            waits = sum(count for op, count in found.items() if any(wait in op for wait in WAITS))
            note = f"{waits:.2f} waits of the host: it looks at every {usual['cuda']}th step"
            rows.append(
                Row("kernels", f"{name}, ours", "a step, beside the network's", kernels, bar=MOST, note=note)
            )
    finally:
        ledgers.CHECKED_EVERY.clear()
        ledgers.CHECKED_EVERY.update(usual)
    for name, count, own in THEIRS:
        settings.say(name)
        found = per_step(count)
        waits = sum(n for op, n in found.items() if any(wait in op for wait in WAITS))
        rows.append(
            Row(
                "kernels",
                name,
                "a step, beside the network's",
                sum(found.values()) - own,
                note=f"{waits:.2f} waits",
            )
        )
    return rows


def per_step(count: Count) -> dict[str, float]:
    """Operations of one more step, by name."""
    more = count(MANY)
    more.subtract(count(FEW))
    return {name: number / (MANY - FEW) for name, number in more.items() if number}


def ours(attack: Attack) -> Counter[str]:
    """What an attack launches through the oracle of an evaluation; nothing breaks."""
    network, x, y = toy()
    deployed, batches = Deployed(network), Batches(64)
    access = Access(deployed, WHITE_BOX, {}, Numerics())
    ledger = Ledger(x, y, 10)
    oracle = MeteredOracle(access, Referee(deployed, FAINT, batches), ledger, batches)
    with Kernels() as counted:
        attack(oracle, x, y, FAINT, Generator().manual_seed(0))
    if bool(ledger.broken.any()):
        raise RuntimeError("an example broke, so that its later steps were free: the count would flatter")
    return counted.counts


def toy() -> tuple[nn.Module, Tensor, Tensor]:
    """A linear network and images that it takes for what they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    x = torch.rand(32, 1, 8, 8, generator=Generator().manual_seed(0))
    return network, x, network(x).argmax(1)


def _torchattacks_pgd(steps: int) -> Counter[str]:
    import torchattacks

    network, x, y = toy()
    attack = torchattacks.PGD(
        network, eps=FAINT.radius, alpha=FAINT.radius / 4, steps=steps, random_start=True
    )
    attack.set_device(x.device)
    with Kernels() as counted:
        attack(x, y)
    return counted.counts


def _pyautoattack(name: str, steps: str) -> Count:
    def count(number: int) -> Counter[str]:
        import pyautoattack

        network, x, y = toy()
        ensemble = pyautoattack.AutoAttack(network, norm="Linf", eps=FAINT.radius, device="cpu", seed=0)
        attack = getattr(ensemble, name)
        setattr(attack, steps, number)
        attack.n_restarts, attack.seed = 1, 0
        if name == "fab":
            attack.targeted, attack.n_target_classes = True, 1
        with torch.random.fork_rng(devices=[]), Kernels() as counted:
            attack.perturb(x, y)
        return counted.counts

    return count


OURS: tuple[tuple[str, Callable[[int], Attack], bool], ...] = (
    ("PGD", lambda steps: PGD(steps=steps), True),
    ("APGD", lambda steps: APGD(steps=steps), True),
    ("Square", lambda steps: Square(queries=steps), False),
)
"""Name, the attack for so many steps, and whether a step goes backwards too."""

THEIRS: tuple[tuple[str, Count, int], ...] = (
    ("PGD, torchattacks", _torchattacks_pgd, 2),
    ("APGD, pyautoattack", _pyautoattack("apgd", "n_iter"), 2),
    ("FAB-T, pyautoattack", _pyautoattack("fab", "n_iter"), 3),
    ("Square, pyautoattack", _pyautoattack("square", "n_queries"), 1),
)
"""Name, what it launches in so many steps, and the network's own kernels among them."""
