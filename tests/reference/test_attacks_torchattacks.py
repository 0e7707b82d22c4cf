"""FGSM, PGD and MI-FGSM give the images of torchattacks on the same network.

Conventions that differ: torchattacks never stops on a broken example, so the oracle here confirms nothing (a
transfer to itself); its MI-FGSM divides gradients by the mean of their absolute values, ours and the paper's
by their sum, a constant factor that no sign sees; random numbers differ, so all start at the image.
"""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from bench.api import Attack, Deployed
from bench.attacks.fgsm import FGSM
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.pgd import PGD
from bench.core.threat import TRANSFER, Budget, Norm, Source
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LINF = Budget(Norm.LINF, Fraction("8/255"))
L2 = Budget(Norm.L2, Fraction("1/2"))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 8 * 8, 10)
        )
    return layers.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images(network: nn.Module) -> tuple[Tensor, Tensor]:
    x = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, network(x).argmax(1)


def _ours(attack: Attack, budget: Budget, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    deployed, batches = Deployed(network), Batches(10)
    access = Access(deployed, TRANSFER, {Source.SURROGATE: network}, PLAIN)
    oracle = MeteredOracle(access, Referee(deployed, budget, batches), Ledger(x, y, 10), batches)
    return attack(oracle, x, y, budget, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("steps", [1, 10, 40])
def test_pgd(steps: int, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    ours = _ours(PGD(steps=steps, random_start=False), LINF, network, *images)
    theirs = torchattacks.PGD(network, eps=8 / 255, alpha=2 / 255, steps=steps, random_start=False)(*images)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 10])
def test_pgd_l2(steps: int, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    ours = _ours(PGD(steps=steps, random_start=False), L2, network, *images)
    theirs = torchattacks.PGDL2(network, eps=0.5, alpha=0.125, steps=steps, random_start=False)(*images)
    # it adds 1e-10 to norms of gradients, and rounding under L2 passes from step to step
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_targeted_pgd(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    ours = _ours(PGD(steps=10, random_start=False, target="least_likely"), LINF, network, x, y)
    attack = torchattacks.PGD(network, eps=8 / 255, alpha=2 / 255, steps=10, random_start=False)
    attack.set_mode_targeted_least_likely(kth_min=1)
    torch.testing.assert_close(ours, attack(x, y), rtol=0, atol=1e-6)


def test_fgsm(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    theirs = torchattacks.FGSM(network, eps=8 / 255)(*images)
    torch.testing.assert_close(_ours(FGSM(), LINF, network, *images), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_mi_fgsm(decay: float, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    ours = _ours(MIFGSM(steps=10, step_size=Fraction(1, 4), decay=decay), LINF, network, *images)
    theirs = torchattacks.MIFGSM(network, eps=8 / 255, alpha=2 / 255, steps=10, decay=decay)(*images)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
