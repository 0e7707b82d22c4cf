"""Transfer FGSM: the transform and its transpose, the kernel, the costs, and what is returned."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.api import Deployed
from bench.attacks.geometry import distance
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.transfer import (
    DI_FGSM,
    NI_FGSM,
    SI_NI_FGSM,
    TI_FGSM,
    VMI_FGSM,
    TransferFGSM,
    _placement,
    _scaled,
    _smoothed,
)
from bench.core.threat import TRANSFER, WHITE_BOX, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

PRESETS = {
    "di": DI_FGSM,
    "ti": TI_FGSM,
    "ni": NI_FGSM,
    "si_ni": SI_NI_FGSM,
    "vmi": replace(VMI_FGSM, neighbours=3),
}
ALL_AT_ONCE = TransferFGSM(look_ahead=True, scales=2, diversity=0.5, kernel=3, neighbours=2)
BUDGETS = [Budget(Norm.LINF, Fraction("0.1")), Budget(Norm.L2, Fraction("0.6"))]
budgets = pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.norm.value)


@pytest.mark.parametrize("budget", [Budget(Norm.LINF, Fraction("0.03")), Budget(Norm.LINF, Fraction("0.3"))])
@pytest.mark.parametrize("attack", [TransferFGSM(), *(PRESETS[name] for name in ("ni", "si_ni", "vmi"))])
def test_linf_of_a_linear_classifier_is_reached(
    attack: TransferFGSM, budget: Budget, problem, seeded
) -> None:
    """Its gradient is the same everywhere, so whatever is averaged, the corner is reached."""
    oracle = problem.oracle(confirms=False, knowledge=TRANSFER)
    x_adv = attack(oracle, problem.x, problem.y, budget, seeded(0))
    assert (problem.worst_margin(budget) - problem.margin(x_adv)).abs().max() < 1e-4


@pytest.mark.parametrize("attack", [DI_FGSM, TI_FGSM, ALL_AT_ONCE])
def test_what_blurs_gradients_gains_but_never_more_than_the_worst_case(attack, problem, seeded) -> None:
    budget = BUDGETS[0]
    oracle = problem.oracle(confirms=False, knowledge=TRANSFER)
    x_adv = attack(oracle, problem.x, problem.y, budget, seeded(0))
    best, found = problem.worst_margin(budget), problem.margin(x_adv)
    assert (found <= best + 1e-5).all()
    assert (found > problem.margin(problem.x)).float().mean() > 0.9


@budgets
def test_the_defaults_are_mi_fgsm(budget: Budget, make_mlp, make_oracle, seeded) -> None:
    network, x = make_mlp(), torch.rand(20, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    ours, known = (
        attack(make_oracle(network, y, 5, TRANSFER, confirms=False), x, y, budget, seeded(1))
        for attack in (TransferFGSM(steps=8), MIFGSM(steps=8))
    )
    if budget.norm is Norm.LINF:
        torch.testing.assert_close(ours, known, rtol=0, atol=1e-6)
    assert (distance(ours, x, budget.norm) <= budget.radius + 1e-6).all()


@pytest.mark.parametrize(
    ("side", "shrunk", "start"), [(8, 7, 0), (8, 7, 1), (28, 25, 2), (5, 2, 3), (6, 6, 0)]
)
def test_an_image_is_shrunk_and_padded_as_torch_does_it(side: int, shrunk: int, start: int, seeded) -> None:
    x = torch.rand(2, 3, side, side, generator=seeded(0))
    matrix = _placement(side, torch.tensor([float(shrunk)] * 2), torch.tensor([float(start)] * 2))[:, None]
    small = F.interpolate(x, size=(shrunk, shrunk), mode="bilinear", align_corners=False)
    rest = side - shrunk - start
    torch.testing.assert_close(matrix @ x @ matrix.mT, F.pad(small, (start, rest, start, rest)))


def test_the_gradient_is_pulled_back_through_the_transform(make_mlp, make_oracle, seeded) -> None:
    """Against autograd through the same draws; images of their own height and width."""
    network, x = make_mlp(shape=(2, 6, 9)), torch.rand(10, 2, 6, 9, generator=seeded(0))
    y = network(x).argmax(1)
    attack = TransferFGSM(steps=1, diversity=0.7, smallest=0.4)
    rows, columns = attack._placements(x, seeded(5))
    inputs = x.clone().requires_grad_()
    loss = F.cross_entropy(network(rows @ inputs @ columns.mT), y, reduction="sum")
    (expected,) = torch.autograd.grad(loss, inputs)
    x_adv = attack(make_oracle(network, y, 5, TRANSFER, confirms=False), x, y, BUDGETS[0], seeded(5))
    torch.testing.assert_close(x_adv, (x + 0.01 * expected.sign()).clamp(0, 1))


def test_draws_of_each_image_cover_sizes_and_places(seeded) -> None:
    x = torch.ones(4000, 1, 10, 12)
    rows, columns = TransferFGSM(diversity=0.5, smallest=0.8)._placements(x, seeded(0))
    heights = (rows.sum(-1) > 0.5).sum(-1).flatten()
    widths = (columns.sum(-1) > 0.5).sum(-1).flatten()
    assert set(heights.tolist()) == {8, 9, 10} and set(widths.tolist()) == {9, 10, 11, 12}
    assert abs((heights == 10).float().mean().item() - 0.5) < 0.05
    tops = (rows.sum(-1) > 0.5).float().argmax(-1).flatten()
    assert set(tops[heights == 8].tolist()) == {0, 1, 2} and set(tops[heights == 10].tolist()) == {0}


def test_the_kernel_by_hand() -> None:
    spike = torch.zeros(1, 2, 5, 5)
    spike[0, 0, 2, 2] = 1
    line = torch.tensor([-3.0, 0, 3]).square().mul(-0.5).exp()
    line /= line.sum()
    smoothed = _smoothed(spike, 3)
    torch.testing.assert_close(smoothed[0, 0, 1:4, 1:4], torch.outer(line, line))
    assert smoothed.sum().item() == pytest.approx(1) and not smoothed[0, 1].any()


def test_gradients_are_scaled_and_zero_stays_zero(seeded) -> None:
    gradient = torch.randn(3, 2, 4, 4, generator=seeded(0)) * 1e-12
    gradient[2] = 0
    assert _scaled(gradient, Norm.LINF).abs().mean((1, 2, 3)).tolist() == pytest.approx([1, 1, 0])
    assert _scaled(gradient, Norm.L2).flatten(1).norm(dim=1).tolist() == pytest.approx([1, 1, 0])


@pytest.mark.parametrize(
    ("attack", "gradients"),
    [
        (TransferFGSM(), 10),
        (DI_FGSM, 10),
        (SI_NI_FGSM, 50),
        (VMI_FGSM, 10 + 9 * 20),
        (ALL_AT_ONCE, 2 * (10 + 9 * 2)),
    ],
)
def test_costs(attack: TransferFGSM, gradients: int, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=TRANSFER)
    attack(oracle, problem.x, problem.y, BUDGETS[0], seeded(0))
    assert set(oracle.backwards.tolist()) == {gradients}


@budgets
@pytest.mark.parametrize("name", PRESETS)
def test_draws_come_from_the_generator_and_images_are_allowed(name: str, budget, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False, knowledge=TRANSFER)
    first, again = (PRESETS[name](oracle, problem.x, problem.y, budget, seeded(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1
    assert (distance(first, problem.x, budget.norm) <= budget.radius + 1e-6).all()


@budgets
def test_what_broke_an_example_on_the_way_is_returned(budget: Budget, make_mlp, seeded) -> None:
    """In white-box trials a look-ahead, a copy or a neighbour may succeed where no iterate does."""
    network, x = make_mlp(), torch.rand(60, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    deployed, batches = Deployed(network), Batches(64)
    referee, ledger = Referee(deployed, budget, batches), Ledger(x, y, 5)
    oracle = MeteredOracle(Access(deployed, WHITE_BOX, {}, PLAIN), referee, ledger, batches)
    x_adv = ALL_AT_ONCE(oracle, x, y, budget, seeded(0))
    verdict = referee.judge(x_adv, x)
    assert oracle.broken().float().mean() > 0.2
    assert (verdict.classes != y)[oracle.broken()].all() and not verdict.moved.any()


def test_a_constant_network_moves_nothing(make_oracle, seeded) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nn.init.zeros_(network[1].weight)
    x, y = torch.rand(2, 1, 4, 4, generator=seeded(0)), torch.zeros(2, dtype=torch.int64)
    oracle = make_oracle(network, y, 3, TRANSFER, confirms=False)
    assert torch.equal(ALL_AT_ONCE(oracle, x, y, BUDGETS[0], seeded(0)), x)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [({"kernel": 4}, "kernel=5"), ({"scales": 0}, "scales=1"), ({"decay": 2.0}, "decay=0.5")],
)
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        TransferFGSM(**wrong)
