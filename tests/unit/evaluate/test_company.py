"""An example's verdict is its own: in whatever company it is attacked, in whatever batches."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from bench.api import Attack, Deployed, Trial
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.ddn import DDN
from bench.attacks.fab import FAB
from bench.attacks.fast import Ladder
from bench.attacks.fgsm import FGSM
from bench.attacks.fmn import FMN
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.pgd import PGD
from bench.attacks.rays import RayS
from bench.core.outcomes import Outcomes
from bench.core.threat import DECISIONS, WHITE_BOX, Budget, Knowledge, Norm
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics

N, CLASSES = 80, 6

ATTACKS = {  # which draw nothing: of those that do, a chunk shares the stream
    "fgsm": (FGSM(), Norm.LINF, WHITE_BOX),
    "mi_fgsm": (MIFGSM(), Norm.LINF, WHITE_BOX),
    "pgd": (PGD(random_start=False), Norm.LINF, WHITE_BOX),
    "apgd": (APGD(steps=25, random_start=False), Norm.LINF, WHITE_BOX),
    "ladder": (Ladder(), Norm.LINF, WHITE_BOX),
    "fab": (FAB(steps=15, targets=2), Norm.LINF, WHITE_BOX),
    "ddn": (DDN(steps=25), Norm.L2, WHITE_BOX),
    "fmn": (FMN(steps=25), Norm.L2, WHITE_BOX),
    "rays": (RayS(queries=200), Norm.LINF, DECISIONS),
}
EPS = {Norm.LINF: Fraction("0.02"), Norm.L2: Fraction("0.2")}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(12 * 4 * 4, CLASSES)).requires_grad_(False)


def outcomes(
    network: nn.Module,
    attack: Attack,
    norm: Norm,
    knowledge: Knowledge,
    chosen: torch.Tensor,
    size: int,
    classes: int = CLASSES,
) -> Outcomes:
    x = torch.rand(N, 1, 12, 12, generator=torch.Generator().manual_seed(2))
    y = network(x).argmax(1)
    y[::9] = (y[::9] + 1) % classes  # some are wrong when clean, and attacked by nobody
    arena = Arena(Deployed(network), Budget(norm, EPS[norm]), classes, {}, Numerics(), Batches(size), seed=0)
    chunk = Chunk(0, x[chosen], y[chosen], chosen)
    cell = play(arena, Trial("attack", attack, knowledge), chunk, seed=0)
    assert cell.outcomes is not None, cell.error
    return cell.outcomes


@pytest.mark.parametrize(("attack", "norm", "knowledge"), ATTACKS.values(), ids=ATTACKS)
def test_a_verdict_and_its_cost_do_not_depend_on_the_others(network, attack, norm, knowledge):
    everyone = outcomes(network, attack, norm, knowledge, torch.arange(N), size=N)
    assert 0 < everyone.robust.sum() < everyone.correct.sum(), "some fall and some stand"
    few = torch.randperm(N, generator=torch.Generator().manual_seed(3))[:30]
    among_few = outcomes(network, attack, norm, knowledge, few, size=7)
    for name, held in among_few.arrays().items():
        due = everyone.arrays()[name][few.numpy()]
        if name == "distance":
            assert np.allclose(held, due, atol=1e-6)
        else:
            assert np.array_equal(held, due), name


FEW_CLASSES = {
    "apgd_t": TargetedAPGD(steps=20),
    "apgd_dlr": APGD(steps=20, loss="dlr"),
    "pgd_dlr_to_the_next": PGD(loss="dlr", target="most_confusing"),
    "ladder": Ladder(),
    "fab": FAB(steps=20),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("attack", FEW_CLASSES.values(), ids=FEW_CLASSES)
def test_two_and_three_classes_are_broken_to_the_closed_form(attack, classes):
    """More targets than wrong classes, no fourth logit: what can be reached on a linear classifier is."""
    generator = torch.Generator().manual_seed(classes)
    layer = nn.Linear(144, classes).requires_grad_(False)
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / 12)
    layer.bias.copy_(torch.randn(classes, generator=generator) / 5)
    network = nn.Sequential(nn.Flatten(), layer)
    found = outcomes(network, attack, Norm.LINF, WHITE_BOX, torch.arange(N), size=N, classes=classes)

    x = torch.rand(N, 1, 12, 12, generator=torch.Generator().manual_seed(2)).flatten(1).double()
    weight, bias, eps = layer.weight.double(), layer.bias.double(), float(EPS[Norm.LINF])
    y = torch.as_tensor(found.labels)
    slope = weight[None] - weight[y][:, None]  # [N, K, D]: towards each class
    end = torch.where(slope > 0, (x[:, None] + eps).clamp(max=1), (x[:, None] - eps).clamp(min=0))
    lead = (slope * end).sum(2) + bias - bias[y][:, None]
    lead[torch.arange(N), y] = -torch.inf
    stands = torch.as_tensor(found.correct) & (lead.amax(1) < 0)
    assert lead.amax(1).abs().min() > 1e-5, "nobody sits on the boundary"
    assert 0 < stands.sum() < found.correct.sum()
    assert np.array_equal(found.robust, stands.numpy())
