"""Free adversarial training: the authors' own loop step by step, replays, and who is refused."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from bench.core.encoding import override
from bench.core.threat import Budget, Norm
from bench.errors import BadValue
from bench.plan import parse_defense
from defenses.free_at import FreeAt, Perturbed, require_ball, within

BUDGET = Budget(Norm.LINF, Fraction(1, 4))


def test_weights_and_perturbation_are_those_of_the_released_loop(waves):
    """train() of main_free.py with eps 0.25, steps of 0.1, three replays, on a linear network by SGD."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        net[1].weight.copy_(waves(3, 4, phase=0.3))
        net[1].bias.zero_()
    optimizer, perturbed = SGD(net.parameters(), lr=0.5), Perturbed(step_size=0.4)
    batches = [
        (waves(4, 1, 2, 2, phase=0.2, scale=0.5) + 0.5, torch.tensor([0, 1, 2, 0])),
        (waves(4, 1, 2, 2, phase=1.1, scale=0.5) + 0.5, torch.tensor([2, 1, 0, 1])),
    ]
    for x, y in batches:
        for _ in range(3):
            loss = F.cross_entropy(net(perturbed.added(x, BUDGET, epoch=0)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    perturbed.added(batches[1][0], BUDGET, epoch=0)  # moves by what the last pass got
    # fmt: off
    assert perturbed.delta.flatten().tolist() == pytest.approx(
        [0.05, 0.05, -0.25, -0.1, -0.2, 0.25, 0.25, 0.25, -0.05, 0.25, 0.2, 0.05, -0.25, -0.25, -0.25, -0.1],
        abs=1e-6,
    )
    assert net[1].weight.flatten().tolist() == pytest.approx(
        [0.3156685829, 1.4218509197, 1.7416371107, 1.0507590771, 0.3685095012, -1.0384656191,
         -1.7947328091, -1.4975643158, -0.7577292323, 0.6989235282, 1.7822384834, 2.0095391273],
        rel=1e-5,
    )
    # fmt: on


def test_a_step_costs_one_pass(passes):
    assert passes(FreeAt()) == (1, 0, 0, 1)


def test_the_weights_attack_looks_twice_and_moves_the_perturbation_once(short):
    net = short(parse_defense("awp[base=free_at[replays=2]]", {}).defense, steps=4)
    assert all(weight.isfinite().all() for weight in net.parameters())
    perturbed, x = Perturbed(step_size=1.0), torch.full((1, 1, 2, 2), 0.5)
    perturbed.added(x, BUDGET, 0).sum().backward()
    perturbed.added(x, BUDGET, 0)
    perturbed.added(x, BUDGET, 0)
    assert torch.equal(perturbed.delta, torch.full((1, 1, 2, 2), 0.25))


def test_under_l2_it_stays_in_the_ball():
    moved = within(torch.full((1, 1, 2, 2), 1.0), Budget(Norm.L2, Fraction(1, 2)))
    assert moved.norm().item() == pytest.approx(0.5)
    with pytest.raises(BadValue, match="free_at climbs under Linf and L2, but the budget's norm is L1"):
        require_ball(Norm.L1)


@pytest.mark.parametrize("settings", [{"replays": "0"}, {"step_size": "0"}])
def test_values_out_of_range_are_one_sentence(settings):
    with pytest.raises(BadValue, match=next(iter(settings))):
        override(FreeAt(), settings)
