"""Every defense trains two steps on a card and is attacked there, and every attack plays five."""

from fractions import Fraction

import pytest
import torch
from cards.everything import arena_of, attacked, defenses, digits, short, trained, trial_of

from bench.core.threat import Budget, Norm
from bench.evaluate.engine import Chunk, play
from bench.registry import ATTACKS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

RADII = {Norm.LINF: Fraction(1, 5), Norm.L2: Fraction(1), Norm.L1: Fraction(8), Norm.L0: Fraction(10)}


def attacks():
    for name in ATTACKS.names():
        for norm in ATTACKS.get(name).norms:
            yield pytest.param(name, norm, id=f"{name}-{norm.value}")


@pytest.mark.parametrize("name", [*defenses()])
def test_a_defense_trains_and_is_attacked(name, tmp_path):
    card = torch.device("cuda", 0)
    spec, weights, data = trained(name, tmp_path, card)
    assert data.test.x.device == card
    cell = attacked(spec, weights, data)
    assert cell.error is None and len(cell.outcomes) == 8


@pytest.mark.parametrize(("name", "norm"), [*attacks()])
def test_an_attack_stays_in_its_budget(name, norm):
    card, attack, budget = torch.device("cuda", 0), short(name, 5, 24), Budget(norm, RADII[norm])
    net, x, y = digits(8)
    net, x, y = net.to(card), x.to(card), y.to(card)
    arena = arena_of(attack, net, budget, x)
    cell = play(arena, trial_of(name, attack), Chunk(0, x, y, torch.arange(8, device=card)), 7)
    assert cell.error is None and cell.outcomes.correct.all()
    assert (cell.outcomes.distance <= float(budget.eps) * 1.0001).all()
