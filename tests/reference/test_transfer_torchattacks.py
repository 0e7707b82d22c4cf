"""Transfer attacks give the images of torchattacks on the same network, wherever nothing is drawn.

VMI-FGSM draws neighbours: there both are handed the same noise. DI-FGSM draws one size and place for a whole
batch, ours one for each image, so the two agree where images are never transformed.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
import torchattacks
from torch import Generator, Tensor, nn

from bench.api import Attack, Deployed
from bench.attacks import transfer
from bench.attacks.transfer import TransferFGSM
from bench.core.threat import TRANSFER, Budget, Norm, Source
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.ledger import Ledger
from bench.evaluate.numerics import PLAIN
from bench.evaluate.oracle import MeteredOracle
from bench.evaluate.referee import Referee

LINF = Budget(Norm.LINF, Fraction("8/255"))
QUARTER = Fraction(1, 4)  # of 8/255: the 2/255 that torchattacks is told
THEIRS = {"eps": 8 / 255, "alpha": 2 / 255, "steps": 10}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 8 * 8, 10)
        )
    return layers.double().eval().requires_grad_(False)  # a sign near zero must not hang on rounding


@pytest.fixture(scope="module")
def images(network: nn.Module) -> tuple[Tensor, Tensor]:
    x = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, network(x.double()).argmax(1)


class _Cast(nn.Module):
    """A network in double precision for images and answers in single."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.double()).float()
        return logits


def _ours(attack: Attack, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    network = _Cast(network)
    deployed, batches = Deployed(network), Batches(10)
    access = Access(deployed, TRANSFER, {Source.SURROGATE: network}, PLAIN)
    oracle = MeteredOracle(access, Referee(deployed, LINF, batches), Ledger(x, y, 10), batches)
    return attack(oracle, x, y, LINF, torch.Generator().manual_seed(0))


def _compare(ours: TransferFGSM, theirs: torchattacks.Attack, network: nn.Module, images) -> None:
    torch.testing.assert_close(_ours(ours, network, *images), theirs(*images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_mi_fgsm(decay: float, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    theirs = torchattacks.MIFGSM(_Cast(network), decay=decay, **THEIRS)
    _compare(TransferFGSM(step_size=QUARTER, decay=decay), theirs, network, images)


def test_di_fgsm_without_diversity(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    theirs = torchattacks.DIFGSM(_Cast(network), decay=1.0, diversity_prob=0.0, resize_rate=0.5, **THEIRS)
    _compare(TransferFGSM(step_size=QUARTER), theirs, network, images)


@pytest.mark.parametrize("side", [3, 7, 15])
def test_ti_fgsm(side: int, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    theirs = torchattacks.TIFGSM(
        _Cast(network), decay=1.0, len_kernel=side, diversity_prob=0.0, resize_rate=0.5, **THEIRS
    )
    _compare(TransferFGSM(step_size=QUARTER, kernel=side), theirs, network, images)


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_ni_fgsm(decay: float, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    theirs = torchattacks.NIFGSM(_Cast(network), decay=decay, **THEIRS)
    _compare(TransferFGSM(step_size=QUARTER, decay=decay, look_ahead=True), theirs, network, images)


@pytest.mark.parametrize("scales", [1, 3, 5])
def test_si_ni_fgsm(scales: int, network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    theirs = torchattacks.SINIFGSM(_Cast(network), m=scales, **THEIRS)
    _compare(TransferFGSM(step_size=QUARTER, look_ahead=True, scales=scales), theirs, network, images)


@pytest.mark.parametrize("neighbours", [1, 4])
def test_vmi_fgsm(
    neighbours: int, network: nn.Module, images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(7)
        while True:
            yield torch.rand(images[0].shape, generator=generator) * 2 - 1

    mine, other = stream(), stream()

    def noise(x: Tensor, radius: float, norm: Norm, generator: Generator) -> Tensor:
        assert radius == pytest.approx(1.5 * 8 / 255)
        return next(mine) * radius

    monkeypatch.setattr(transfer, "_ball_noise", noise)
    monkeypatch.setattr(Tensor, "uniform_", lambda tensor, low, high: tensor.copy_(next(other) * high))
    theirs = torchattacks.VMIFGSM(_Cast(network), N=neighbours, **THEIRS)
    _compare(TransferFGSM(step_size=QUARTER, neighbours=neighbours), theirs, network, images)
