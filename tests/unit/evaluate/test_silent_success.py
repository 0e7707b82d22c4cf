"""A success that an attack knew of and did not return is its fault; one that it could not know of is not."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from torch import nn

from bench.api import Deployed, Trial
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.combine import Cascade, Restarts
from bench.attacks.fast import Ladder
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.pgd import PGD
from bench.core.metrics import withheld
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.evaluate import diagnostics, ledger
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics

OURS = (Ladder(), Restarts(PGD(steps=20), times=3), PGD(), MIFGSM(), APGD(steps=20), TargetedAPGD(steps=20))
N = 200


class LastPixel(nn.Module):
    """Class 1 where the last pixel is bright."""

    def forward(self, x):
        last = x[:, 0, 0, -1]
        return torch.stack([0.5 - last, last - 0.5], 1)


@dataclass(frozen=True)
class Paints:
    """Asks about images whose last pixel has this brightness, and returns them."""

    brightness: float

    def __call__(self, oracle, x, y, budget, generator):
        x_adv = x.clone()
        x_adv[:, 0, 0, -1] = self.brightness
        oracle.labels(x_adv)
        return x_adv


@dataclass(frozen=True)
class ComesBack:
    """Climbs, and returns the clean image in the end, whatever it was told."""

    def __call__(self, oracle, x, y, budget, generator):
        PGD(steps=20)(oracle, x, y, budget, generator)
        return x


@dataclass(frozen=True)
class ComesBackAtOnce:
    """Asks about a success once and returns the clean image."""

    def __call__(self, oracle, x, y, budget, generator):
        oracle.logits(torch.ones_like(x))
        return x


def guarded(network, suspicion):
    return Deployed(network, detector=lambda x: suspicion(x) > 0, suspicion=suspicion)


def deep(seed=0):
    """A network that random images are near the boundaries of, and how strange they look."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    x = torch.rand(N, 1, 8, 8, generator=generator)
    return network.requires_grad_(False), x, lambda images: images.flatten(1).var(1) - 0.0835


def attacked(deployed, attack, x, y, norm=Norm.LINF, eps="3/100"):
    classes = deployed.predict(x[:1]).shape[1]
    arena = Arena(deployed, Budget(norm, Fraction(eps)), classes, {}, Numerics(), Batches(64), seed=0)
    cell = play(arena, Trial("it", attack, WHITE_BOX), Chunk(0, x, y, torch.arange(len(y))), seed=0)
    assert cell.outcomes is not None, cell.error
    return cell.outcomes


def test_an_image_that_was_refused_gives_way_to_a_success():
    """The first attack fools the network and is turned away; the second one gets past, for all of ten."""
    x, y = torch.zeros(10, 1, 1, 3), torch.zeros(10, dtype=torch.int64)
    deployed = guarded(LastPixel(), lambda images: images[:, 0, 0, -1] - 0.9)
    found = attacked(deployed, Cascade((Paints(1.0), Paints(0.7))), x, y, eps="1")
    assert not found.robust.any() and not found.lost.any()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("attack", OURS, ids=lambda attack: type(attack).__name__)
def test_our_attacks_return_what_they_were_told_of(monkeypatch, attack, norm):
    network, x, suspicion = deep()
    y = network(x).argmax(1)
    late = 0
    for deployed in (Deployed(network), guarded(network, suspicion)):
        eps = "3/100" if norm is Norm.LINF else "2/10"
        seen = attacked(deployed, attack, x, y, norm, eps)
        assert 0 < seen.robust.sum() < N and not seen.lost.any()
        monkeypatch.setattr(ledger, "CHECKED_EVERY", {"cpu": 8})  # as on a GPU
        found = attacked(deployed, attack, x, y, norm, eps)
        assert not withheld(found).any()
        late += int(found.lost.sum())
        monkeypatch.setattr(ledger, "CHECKED_EVERY", {})
    assert late or isinstance(attack, MIFGSM | Ladder), "some were told too late"


@pytest.mark.parametrize(("every", "lost"), [(1, 10), (8, 0)])
def test_a_success_that_is_seen_after_the_attack_has_returned_is_not_its_fault(monkeypatch, every, lost):
    """Asked about one image, a GPU's answer is looked at when nothing can be done any more."""
    monkeypatch.setattr(ledger, "CHECKED_EVERY", {"cpu": every})
    x, y = torch.zeros(10, 1, 1, 3), torch.zeros(10, dtype=torch.int64)
    found = attacked(Deployed(LastPixel()), ComesBackAtOnce(), x, y, eps="1")
    assert not found.robust.any(), "the success counts all the same"
    assert found.lost.sum() == withheld(found).sum() == lost


def test_a_ladder_whose_last_step_leaves_a_success_is_not_accused(monkeypatch):
    """The case that accused it: three successes are stepped away from, one of them by the very last step."""
    monkeypatch.setattr(ledger, "CHECKED_EVERY", {"cpu": 8})
    network, x, _ = deep(4)
    found = attacked(Deployed(network), Ladder(), x, network(x).argmax(1), eps="1/10")
    assert found.robust.sum() < N and not withheld(found).any()


@pytest.mark.parametrize("every", [1, 8])
def test_who_throws_successes_away_is_named(monkeypatch, every):
    monkeypatch.setattr(ledger, "CHECKED_EVERY", {"cpu": every})
    network, x, _ = deep()
    found = attacked(Deployed(network), ComesBack(), x, network(x).argmax(1))
    broken = int((found.correct & ~found.robust).sum())
    assert broken > 30 and found.lost.sum() == broken
    assert withheld(found).sum() == broken
    codes = {sign.code for sign in diagnostics.from_outcomes({"it": found}, {"it": 0})}
    assert codes == {"silent-success"}
