"""How often each native attack makes the host wait for the card: every wait stops the card, too."""

from fractions import Fraction

import pytest
import torch
from cards.everything import arena_of, digits, short, trial_of
from pretend.device import WAITS

from bench.core.threat import Budget, Norm
from bench.evaluate.engine import Chunk, play
from bench.registry import ATTACKS

CARD = torch.device("cuda", 1)
N = 24
RADII = {Norm.LINF: Fraction(1, 5), Norm.L2: Fraction(1), Norm.L1: Fraction(8), Norm.L0: Fraction(10)}
"""At which many images break, and some stand."""

FEW = {"gradients", "square", "search_scout", "probe"}
"""Attacks by gradients, and Square: at most 0.3 waits a query; the others at most 1."""

ONCE = {"ladder": 9}
"""Waits besides, once an attack; it is made of several. The others: 4."""


@pytest.fixture(scope="module")
def images():
    return digits(N)


def cases():
    """Every attack under its first norm; other norms, and what takes seconds, are slow."""
    for name in ATTACKS.names():
        norms = ATTACKS.get(name).norms
        for norm in norms:
            slow = norm is not norms[0] or name in ("fab", "vmi_fgsm")
            yield pytest.param(name, norm, id=f"{name}-{norm.value}", marks=[pytest.mark.slow] * slow)


def waits_per_query(name, norm, images):
    net, x, y = images
    attack = short(name, steps=24, queries=64)
    trial = trial_of(name, attack)
    net, x, y = net.to(CARD), x.to(CARD), y.to(CARD)
    arena = arena_of(attack, net, Budget(norm, RADII[norm]), x)
    chunk = Chunk(0, x, y, torch.arange(N, device=CARD))
    arena.access(trial.knowledge)
    WAITS.clear()
    cell = play(arena, trial, chunk, 7)
    assert cell.error is None
    spent = {at: count for at, count in WAITS.items() if "evaluate/engine" not in at[1]}  # once a cell
    return cell, sum(spent.values()) / int(cell.outcomes.forwards.max()), spent


@pytest.mark.parametrize(("name", "norm"), [*cases()])
def test_an_attack_keeps_its_budget_of_waits(name, norm, images):
    cell, _, spent = waits_per_query(name, norm, images)
    attack = ATTACKS.get(name)
    allowed = 0.3 if FEW & {name, attack.needs or "gradients"} else 1.0
    most = allowed * int(cell.outcomes.forwards.max()) + ONCE.get(name, 4)
    assert sum(spent.values()) <= most, sorted(spent.items(), key=lambda item: -item[1])[:5]


def test_waits_are_counted_by_what_waits_and_where():
    x = torch.rand(3, device=CARD)
    WAITS.clear()
    assert bool((x >= 0).all()) and len(x[x > 2]) == 0 and x.cpu().device.type == "cpu"
    x[x > 2] = 0  # a fill needs no count
    whats = {what for what, _ in WAITS}
    assert whats == {"a number is read", "as many as are not zero", "a copy from cuda to cpu"}
    assert sum(WAITS.values()) == 3
