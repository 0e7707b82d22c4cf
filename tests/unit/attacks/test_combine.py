"""Restarts and cascades: the worst case of their parts, spent only on what still stands."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from torch import Generator, Tensor

from bench.api import Oracle
from bench.attacks.combine import Cascade, Restarts
from bench.attacks.fgsm import FGSM
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.core.threat import TRANSFER, Budget, Norm

BUDGET = Budget(Norm.LINF, Fraction("0.1"))


@dataclass(frozen=True)
class Breaks:
    """Succeeds on images whose first pixel is above a level, by painting the last pixel white; else black."""

    level: float

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        x_adv = x.clone()
        x_adv[:, 0, 0, -1] = (x[:, 0, 0, 0] > self.level).float()
        return x_adv


class LastPixel(torch.nn.Module):
    """Class 1 where the last pixel is white."""

    def forward(self, x: Tensor) -> Tensor:
        last = x[:, 0, 0, -1]
        return torch.stack([0.5 - last, last - 0.5], 1)


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    x = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])[:, None, None, None].repeat(1, 1, 1, 2)
    x[..., -1] = 0
    return x, torch.zeros(5, dtype=torch.int64)


@pytest.mark.parametrize("transfer", [False, True])
def test_a_cascade_is_the_worst_case_example_by_example(transfer: bool, images, make_oracle, seeded) -> None:
    x, y = images
    knowledge = {"knowledge": TRANSFER, "confirms": False} if transfer else {}
    for order in ((0.8, 0.4, 0.6), (0.4, 0.8), (0.4,), (0.95, 0.95, 0.4)):
        oracle = make_oracle(LastPixel(), y, 2, **knowledge)
        attack = Cascade(tuple(Breaks(level) for level in order))
        x_adv = attack(oracle, x, y, BUDGET, seeded())
        assert (x_adv[:, 0, 0, -1] == 1).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("transfer", [False, True])
def test_only_what_stands_is_attacked_again(transfer: bool, images, make_oracle, seeded) -> None:
    x, y = images
    attacked: list[list[float]] = []

    @dataclass(frozen=True)
    class Watched:
        level: float

        def __call__(self, oracle, x, y, budget, generator):
            attacked.append(x[:, 0, 0, 0].tolist())
            return Breaks(self.level)(oracle, x, y, budget, generator)

    knowledge = {"knowledge": TRANSFER, "confirms": False} if transfer else {}
    oracle = make_oracle(LastPixel(), y, 2, **knowledge)
    Cascade((Watched(0.6), Watched(0.4), Watched(0.2), Watched(0.0), Watched(0.0)))(
        oracle, x, y, BUDGET, seeded()
    )
    assert [len(rows) for rows in attacked] == [5, 3, 2, 1]  # and nothing once all are broken
    assert attacked[2] == pytest.approx([0.1, 0.3])
    assert oracle.forwards.tolist() == [4, 3, 2, 1, 1]  # the verdicts between attacks


def test_a_refused_success_is_kept_but_attacked_again(images, make_oracle, seeded) -> None:
    """The oracle answers and still confirms nothing, as for a lucky miss of a randomized defense."""
    x, y = images
    attack = Cascade((Breaks(0.4), Breaks(0.95)))
    x_adv = attack(make_oracle(LastPixel(), y, 2, confirms=False), x, y, BUDGET, seeded())
    assert (x_adv[:, 0, 0, -1] == 1).tolist() == [False, False, True, True, True]


def test_one_attempt_costs_nothing_beyond_the_attack(problem, seeded) -> None:
    oracle = problem.oracle(confirms=False)
    Restarts(FGSM(), times=1)(oracle, problem.x, problem.y, BUDGET, seeded())
    assert oracle.forwards.tolist() == [1] * len(problem.y)


def test_more_restarts_never_help_the_defense(make_mlp, make_oracle, seeded) -> None:
    network = make_mlp(num_classes=5, seed=3)
    x = torch.rand(60, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    budget = Budget(Norm.LINF, Fraction("0.05"))
    broken = []
    for times in (1, 2, 4, 8):
        oracle = make_oracle(network, y, 5)
        x_adv = Restarts(UniformNoise(draws=1), times)(oracle, x, y, budget, seeded(0))
        broken.append(oracle.hit | (network(x_adv).argmax(1) != y))
    for fewer, more in itertools.pairwise(broken):
        assert (more | ~fewer).all()
    assert broken[-1].sum() > broken[0].sum()


def test_a_cascade_breaks_whatever_its_first_attack_breaks(make_mlp, make_oracle, seeded) -> None:
    network = make_mlp(num_classes=5, seed=3)
    x = torch.rand(60, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    results = []
    for attack in (FGSM(), Cascade((FGSM(), PGD(loss="margin")))):
        oracle = make_oracle(network, y, 5)
        x_adv = attack(oracle, x, y, BUDGET, seeded(0))
        results.append(oracle.hit | (network(x_adv).argmax(1) != y))
    assert (results[1] | ~results[0]).all()
