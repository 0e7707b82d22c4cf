"""Attacks of other libraries on 96 examples do to each what they do to it alone, however they cut batches.

The radii reach other clean images, so nothing but the truth about who is asked for gives these answers; every
attack here draws nothing, so an example's fate does not depend on its company.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from bench.api import Attack, Deployed, Trial
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Cell, Chunk, play
from bench.evaluate.numerics import PLAIN
from bench.registry import ATTACKS

N = 96
LINF, FAR_LINF = Budget(Norm.LINF, Fraction("0.2")), Budget(Norm.LINF, Fraction("0.6"))
L2, L1, L0 = Budget(Norm.L2, Fraction(1)), Budget(Norm.L1, Fraction(5)), Budget(Norm.L0, Fraction(12))

Fitted = tuple[nn.Module, Tensor, Tensor]
"""A network, images that it knows and their labels."""

CASES: list[tuple[str, Budget, dict[str, Any]]] = [
    ("torchattacks:PGD", LINF, {"alpha": Fraction(1, 60), "steps": 6, "random_start": False}),
    ("torchattacks:PGD", FAR_LINF, {"alpha": Fraction(1, 60), "steps": 6, "random_start": False}),
    ("torchattacks:PGDL2", L2, {"alpha": 0.07, "steps": 6, "random_start": False}),
    ("torchattacks:DeepFool", Budget(Norm.L2, Fraction(2)), {"steps": 6}),
    ("torchattacks:JSMA", Budget(Norm.L0, Fraction(24)), {}),
    ("foolbox:LinfPGD", LINF, {"rel_stepsize": 0.08, "steps": 6, "random_start": False}),
    ("foolbox:L2PGD", L2, {"rel_stepsize": 0.07, "steps": 6, "random_start": False}),
    ("foolbox:L1PGD", L1, {"rel_stepsize": 0.07, "steps": 6, "random_start": False}),
    ("foolbox:L2DeepFoolAttack", L2, {"steps": 6}),
    ("art:ProjectedGradientDescent", LINF, {"eps_step": 0.017, "max_iter": 6}),
    ("art:ProjectedGradientDescent", Budget(Norm.LINF, Fraction(1)), {"eps_step": 0.017, "max_iter": 6}),
    ("art:ProjectedGradientDescent", L2, {"eps_step": 0.07, "max_iter": 6}),
    ("art:ProjectedGradientDescent", L2, {"eps_step": 0.07, "max_iter": 6, "batch_size": 1}),
    ("art:ProjectedGradientDescent", L1, {"eps_step": 0.35, "max_iter": 6}),
    ("art:DeepFool", L2, {"max_iter": 6}),
    ("autoattack:fab-t", LINF, {}),
    ("autoattack:fab-t", L2, {}),
    ("autoattack:fab-t", L1, {}),
    ("advlib:ddn", L2, {"steps": 10}),
    ("advlib:fmn", L1, {"steps": 10}),
    ("advlib:fmn", L0, {"steps": 10}),
]


MINIMAL = ("DeepFool", "L2DeepFoolAttack", "JSMA", "fab-t", "ddn", "fmn")


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    """A small network after 40 full-batch steps, and digits that it classifies correctly."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(40):
        loss = nn.functional.cross_entropy(network(x[500:]), y[500:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval().requires_grad_(False)
    right = (network(x).argmax(1) == y).nonzero().squeeze(1)[:N]
    return network, x[right], y[right]


def _attack(name: str, fields: dict[str, Any]) -> Attack:
    prefix = name.partition(":")[0]
    pytest.importorskip({"advlib": "adv_lib", "autoattack": "pyautoattack"}.get(prefix, prefix))
    attack: Any = replace(ATTACKS.get(name), **fields)  # type: ignore[type-var]
    return attack


def _play(attack: Attack, fitted: Fitted, budget: Budget, rows: Tensor) -> Cell:
    network, x, y = fitted
    arena = Arena(Deployed(network), budget, 10, {}, PLAIN, Batches(128), seed=0)
    cell = play(arena, Trial("it", attack, WHITE_BOX), Chunk(0, x[rows], y[rows], rows), 0)
    assert cell.error is None, cell.error
    return cell


@pytest.mark.parametrize(
    ("name", "budget", "fields"), CASES, ids=[f"{name}-{held.label}-{len(f)}" for name, held, f in CASES]
)
def test_everyone_meets_the_fate_that_it_meets_alone(
    name: str, budget: Budget, fields: dict[str, Any], fitted: Fitted
) -> None:
    attack = _attack(name, fields)
    some = torch.arange(0, N, 6)
    alone = [
        bool(_play(attack, fitted, budget, some[k : k + 1]).outcomes.robust[0]) for k in range(len(some))
    ]
    assert not all(alone), "or nothing would be compared"
    assert any(alone) or name.partition(":")[2] in MINIMAL, "these go as far as they must"
    for order in (torch.arange(N), torch.randperm(N, generator=torch.Generator().manual_seed(1))):
        cell = _play(attack, fitted, budget, order)
        robust = torch.empty(N, dtype=torch.bool)
        robust[order] = torch.from_numpy(cell.outcomes.robust)
        assert robust[some].tolist() == alone
        assert not cell.outcomes.lost.any()


@pytest.mark.parametrize("budget", [L2, L1, FAR_LINF], ids=lambda held: held.label)
def test_that_images_could_have_been_anothers_is_told(budget: Budget, fitted: Fitted) -> None:
    attack = _attack("art:ProjectedGradientDescent", {"eps_step": float(budget.eps) / 5, "max_iter": 6})
    _, x, _ = fitted
    apart = torch.cdist(
        x.flatten(1), x.flatten(1), p={Norm.L2: 2, Norm.L1: 1, Norm.LINF: torch.inf}[budget.norm]
    )
    apart.fill_diagonal_(torch.inf)
    reached = int((apart.amin(1) <= budget.radius).sum())
    reachable = int((apart.amin(1) <= 2 * budget.radius).sum())
    shared = _play(attack, fitted, budget, torch.arange(N)).shared
    assert 0 < reached <= shared <= reachable
    assert _play(attack, fitted, LINF, torch.arange(N)).shared == 0
