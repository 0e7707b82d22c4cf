"""How often a native attack makes the host wait for the card, for each query: each wait stops the card, too."""

from fractions import Fraction

import pytest
import torch
from pretend.device import WAITS

from bench.api import Deployed, Trial
from bench.core.encoding import override
from bench.core.threat import DECISIONS, SCORES, WHITE_BOX, Budget, Norm
from bench.data.load import load
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.nn.architectures import network
from bench.registry import ATTACKS

CARD = torch.device("cuda", 1)
N = 24
KNOWLEDGE = {"gradients": WHITE_BOX, "scores": SCORES, "labels": DECISIONS}
RADII = {Norm.LINF: Fraction(1, 5), Norm.L2: Fraction(1), Norm.L1: Fraction(8), Norm.L0: Fraction(10)}
"""At which about half of the images break."""


@pytest.fixture(scope="module")
def images():
    """Digits that a fresh network is right about, for it names them."""
    torch.manual_seed(0)
    data = load("digits")
    net = network(data.task("small_cnn")).eval()
    x, _ = data.test.batch(torch.arange(N))
    with torch.no_grad():
        return net, x, net(x).argmax(1)


def short(name):
    attack = ATTACKS.get(name)
    fields = {"queries": "64", "steps": str(min(getattr(attack, "steps", 0), 24)), "rounds": "1", "targets": "3"}
    chosen = {key: value for key, value in fields.items() if isinstance(getattr(attack, key, None), int)}
    return override(attack, chosen)


def cases():
    for name in ATTACKS.names():
        for norm in ATTACKS.get(name).norms:
            yield pytest.param(name, norm, id=f"{name}-{norm.value}")


def waits_per_query(name, norm, images):
    net, x, y = images
    attack = short(name)
    knowledge = KNOWLEDGE[attack.needs or "gradients"]
    net, x, y = net.to(CARD), x.to(CARD), y.to(CARD)
    arena = Arena(Deployed(net), Budget(norm, RADII[norm]), 10, {}, Numerics(), Batches(64), seed=0, images=x)
    chunk = Chunk(0, x, y, torch.arange(N, device=CARD))
    arena.access(knowledge)
    WAITS.clear()
    cell = play(arena, Trial(name, attack, knowledge), chunk, 7)
    assert cell.error is None
    spent = {at: count for at, count in WAITS.items() if "evaluate/engine" not in at[1]}  # once a cell
    return cell, sum(spent.values()) / int(cell.outcomes.forwards.max()), spent
