"""What the engine adds to a network's own kernels, and that looking for successes later finds the same."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.api import Deployed, Trial
from bench.attacks.fast import Ladder
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import SCORES, WHITE_BOX, Budget, Norm
from bench.evaluate import ledger as ledgers
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import Numerics
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

FAINT = Budget(Norm.LINF, Fraction("1/100000"))
WAITS = ("nonzero", "_local_scalar_dense", "equal.default", "masked_select")
VIEWS = (
    "view",
    "detach",
    "aten.t.",
    "expand",
    "slice",
    "select",
    "unsqueeze",
    "squeeze",
    "permute",
    "as_strided",
)


class Kernels(TorchDispatchMode):
    """Counts what is computed; views compute nothing."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not any(view in str(func) for view in VIEWS):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)


def kernels(network, attack, knowledge):
    x = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    deployed, batches = Deployed(network), Batches(64)
    access = Access(deployed, knowledge, {}, Numerics())
    ledger = Ledger(x, network(x).argmax(1), 10)
    oracle = MeteredOracle(access, Referee(deployed, FAINT, batches), ledger, batches)
    with Kernels() as counted:
        attack(oracle, x, ledger.y, FAINT, torch.Generator().manual_seed(0))
    assert not ledger.broken.any()
    return counted.counts


def per_step(network, make, knowledge=WHITE_BOX, few=40, many=80):
    less, more = (kernels(network, make(steps), knowledge) for steps in (few, many))
    more.subtract(less)
    return {name: count / (many - few) for name, count in more.items() if count}


OWN = 2  # of this network, forward and backward
STEPS = {"pgd": (lambda n: PGD(steps=n), WHITE_BOX), "square": (lambda n: Square(queries=n), SCORES)}


def test_a_step_of_pgd_costs_at_most_25_kernels_beside_the_networks(network):
    make, knowledge = STEPS["pgd"]
    assert sum(per_step(network, make, knowledge).values()) - OWN <= 25


def test_where_the_host_would_wait_successes_are_looked_for_now_and_then(network, monkeypatch):
    monkeypatch.setitem(ledgers.CHECKED_EVERY, "cpu", 8)
    make, knowledge = STEPS["pgd"]
    waits = {
        name: n for name, n in per_step(network, make, knowledge).items() if any(w in name for w in WAITS)
    }
    assert sum(waits.values()) == 1 / 8, "once for every eight steps"
    monkeypatch.setitem(ledgers.CHECKED_EVERY, "cpu", 10_000)
    counts = kernels(network, PGD(steps=40), WHITE_BOX)
    assert sum(n for name, n in counts.items() if any(w in name for w in WAITS)) == 0


@pytest.mark.parametrize(
    "attack", [PGD(steps=30), Ladder(), Square(queries=120)], ids=lambda a: type(a).__name__
)
def test_looking_later_finds_the_same(network, monkeypatch, attack):
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    chunk = Chunk(0, x, network(x).argmax(1), torch.arange(40))

    def outcomes():
        arena = Arena(
            Deployed(network), Budget(Norm.LINF, Fraction("3/100")), 10, {}, Numerics(), Batches(64), seed=0
        )
        return play(arena, Trial("attack", attack, WHITE_BOX), chunk, seed=0).outcomes

    at_once = outcomes()
    monkeypatch.setitem(ledgers.CHECKED_EVERY, "cpu", 8)
    later = outcomes()
    assert 0 < at_once.robust.sum() < 40, "or nothing would be compared"
    assert (at_once.robust == later.robust).all() and (at_once.first_success == later.first_success).all()
    assert (at_once.distance == later.distance).all()
    assert (later.forwards - at_once.forwards).max() < 8


def test_an_attack_that_writes_into_its_image_loses_nothing(network, monkeypatch):
    """Overwritten images are told from kept ones; from then on images are looked at at once."""
    monkeypatch.setitem(ledgers.CHECKED_EVERY, "cpu", 8)

    class InPlace:
        def __call__(self, oracle, x, y, budget, generator):
            x_adv = x.clone()
            for _ in range(40):
                climb = oracle.climb(
                    lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"), x_adv, y
                )
                x_adv.add_(0.004 * climb.gradient.sign())
                torch.clamp(x_adv, min=x - 0.03, max=x + 0.03, out=x_adv)
            return x  # and gives nothing back

    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.8 + 0.1
    chunk = Chunk(0, x, network(x).argmax(1), torch.arange(40))
    arena = Arena(
        Deployed(network), Budget(Norm.LINF, Fraction("3/100")), 10, {}, Numerics(), Batches(64), seed=0
    )
    outcomes = play(arena, Trial("attack", InPlace(), WHITE_BOX), chunk, seed=0).outcomes
    assert (~outcomes.robust).sum() > 5


def test_compiled_gradients_lead_to_the_same_verdicts(network, monkeypatch):
    """All but borderline examples: one of 40 may differ, since sums are ordered differently.

    Traced and differentiated ahead of time, with any number of images; code for a device is not generated.
    """
    whole, calls = torch.compile, []

    def traced(net, **settings):
        calls.append(settings)
        return whole(net, backend="aot_eager", **settings)

    monkeypatch.setattr(torch, "compile", traced)
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    chunk = Chunk(0, x, network(x).argmax(1), torch.arange(40))
    budget = Budget(Norm.LINF, Fraction("3/100"))
    found = []
    for compiled in (False, True):
        arena = Arena(Deployed(network), budget, 10, {}, Numerics(), Batches(64), compiled, seed=0)
        found.append(play(arena, Trial("pgd", PGD(), WHITE_BOX), chunk, seed=0).outcomes)
    assert 0 < found[0].robust.sum() < 40
    assert (found[0].robust != found[1].robust).sum() <= 1 and len(calls) == 1
