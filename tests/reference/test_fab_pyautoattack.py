"""FAB finds the distances, the verdicts and the projections of pyautoattack's on the same network."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from pyautoattack.fab_projections import projection_l2, projection_linf
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from bench.api import Deployed
from bench.attacks.fab import FAB, to_hyperplane
from bench.attacks.geometry import distance
from bench.attacks.losses import most_confusing
from bench.core.threat import TRANSFER, WHITE_BOX, Budget, Norm, Source
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

BUDGETS = [Budget(Norm.LINF, Fraction("0.03")), Budget(Norm.L2, Fraction("0.15"))]
budgets = pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.norm.value)
N = 60


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 64, 10))
    return layers.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images(network: nn.Module) -> tuple[Tensor, Tensor]:
    x = torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, network(x).argmax(1)


def _theirs(network: nn.Module, budget: Budget, targets: int) -> FABAttack_PT:
    return FABAttack_PT(
        network,
        norm=budget.norm.value,
        eps=budget.radius,
        n_iter=20,
        targeted=True,
        n_target_classes=targets,
        device="cpu",
    )


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(
    ("norm", "reference"), [(Norm.LINF, projection_linf), (Norm.L2, projection_l2)], ids=["Linf", "L2"]
)
def test_projections(norm: Norm, reference, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    points, normals = torch.rand(50, 72, generator=generator), torch.randn(50, 72, generator=generator)
    gaps = torch.randn(50, generator=generator) * scale
    theirs = reference(points.clone(), normals.clone(), (normals * points).sum(1) + gaps)
    torch.testing.assert_close(to_hyperplane(points, normals, gaps, norm), theirs, rtol=0, atol=2e-5)


@budgets
@pytest.mark.parametrize("rank", [1, 4])
def test_distances(budget: Budget, rank: int, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    """Towards one target, never stopped: how near each image's nearest mistake is."""
    x, y = images
    attack = _theirs(network, budget, 9)
    attack.target_class = rank + 1
    theirs = distance(attack.attack_single_run(x, y, is_targeted=True), x, budget.norm)
    batches = Batches(64)
    access = Access(Deployed(network), TRANSFER, {Source.SURROGATE: network}, PLAIN)
    oracle = MeteredOracle(access, Referee(Deployed(network), budget, batches), Ledger(x, y, 10), batches)
    target = most_confusing(network(x), y, rank)
    nearest = FAB(steps=20).nearest(oracle, x, y, target, x, budget.norm)
    torch.testing.assert_close(distance(nearest, x, budget.norm), theirs, rtol=1e-4, atol=1e-6)


@budgets
def test_verdicts(budget: Budget, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    theirs = network(_theirs(network, budget, 9).perturb(x, y)).argmax(1) != y
    deployed, batches = Deployed(network), Batches(64)
    referee, ledger = Referee(deployed, budget, batches), Ledger(x, y, 10)
    oracle = MeteredOracle(Access(deployed, WHITE_BOX, {}, PLAIN), referee, ledger, batches)
    x_adv = FAB(steps=20)(oracle, x, y, budget, torch.Generator().manual_seed(0))
    ours = referee.judge(x_adv, x).classes != y
    assert 0.2 * N < theirs.sum() < 0.8 * N  # or nothing would be compared
    # ours also succeeds where a mistake beyond the budget is one still when projected
    assert ours[theirs].all() and (ours != theirs).sum() <= 2
