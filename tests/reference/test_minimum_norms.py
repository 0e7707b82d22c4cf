"""FMN and HopSkipJump find mistakes as near as those of adv-lib and foolbox, for as many passes."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from bench.api import Attack, Deployed
from bench.attacks.fmn import FMN
from bench.attacks.geometry import distance
from bench.attacks.hop_skip_jump import HopSkipJump
from bench.core.threat import DECISIONS, TRANSFER, Budget, Knowledge, Norm, Source
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.numerics import PLAIN
from bench.evaluate.unstopped import Unstopped

norms = pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2], ids=lambda norm: norm.value)
EVERYTHING = {norm: Budget(norm, Fraction(100)) for norm in Norm}


class Counted(nn.Module):
    """A network that counts the images that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 64, 10)
            )
        self.shown = 0
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        self.shown += len(x)
        logits: Tensor = self.layers(x)
        return logits


@pytest.fixture
def network() -> Counted:
    return Counted()


@pytest.fixture
def images(network: Counted) -> tuple[Tensor, Tensor]:
    x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, network(x).argmax(1)


def _lengths(
    attack: Attack, knowledge: Knowledge, norm: Norm, network: nn.Module, x: Tensor, y: Tensor
) -> Tensor:
    """How far what it finds is, where nothing stops it; infinite where that is no mistake."""
    access = Access(Deployed(network), knowledge, {Source.SURROGATE: network}, PLAIN)
    oracle = Unstopped(access, Batches(64), 10, torch.zeros_like(y, dtype=torch.bool))
    x_adv = attack(oracle, x, y, EVERYTHING[norm], torch.Generator().manual_seed(0))
    return torch.where(network(x_adv).argmax(1) != y, distance(x_adv, x, norm), torch.inf)


@norms
def test_fmn(norm: Norm, network: Counted, images: tuple[Tensor, Tensor]) -> None:
    """Theirs finds nothing where the box keeps L2 iterates short of the boundary; ours finds all."""
    fmn = pytest.importorskip("adv_lib.attacks").fmn
    x, y = images
    theirs = distance(fmn(network, x, y, norm=torch.inf if norm is Norm.LINF else 2, steps=100), x, norm)
    ours = _lengths(FMN(steps=100), TRANSFER, norm, network, x, y)
    found = theirs > 0
    assert found.sum() > 10 and ours.isfinite().all()
    torch.testing.assert_close(ours[found], theirs[found], rtol=1e-2, atol=0)


@norms
def test_hop_skip_jump(norm: Norm, network: Counted, images: tuple[Tensor, Tensor]) -> None:
    foolbox = pytest.importorskip("foolbox")
    x, y = images
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.HopSkipJumpAttack(
        init_attack=foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(steps=20),
        steps=6,
        constraint=norm.value.lower(),
    )
    network.shown = 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x_adv, _, _ = attack(model, x, y, epsilons=None)
    queries = network.shown // len(x)
    theirs = torch.where(network(x_adv).argmax(1) != y, distance(x_adv, x, norm), torch.inf)
    ours = _lengths(HopSkipJump(queries=queries), DECISIONS, norm, network, x, y)
    assert 1000 < queries < 2500
    assert ours.isfinite().all() and ours.median() < 1.1 * theirs.median()
