"""Learning rates against torch's own schedulers; the warm-up of the attack by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LRScheduler, MultiStepLR, OneCycleLR

from bench.train.recipe import Recipe
from bench.train.schedule import attack_strength, learning_rate


def _torchs(kind: str, total: int) -> list[float]:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler: LRScheduler
    if kind == "one_cycle":
        scheduler = OneCycleLR(optimizer, max_lr=0.3, total_steps=total, cycle_momentum=False)
    elif kind == "triangle":
        up = total // 2
        scheduler = CyclicLR(optimizer, 0.0, 0.3, step_size_up=up, step_size_down=up, cycle_momentum=False)
    elif kind == "cosine":
        scheduler = CosineAnnealingLR(optimizer, T_max=total)
    else:
        scheduler = MultiStepLR(optimizer, [round(0.5 * total), round(0.7 * total)], gamma=0.1)
    rates = []
    for _ in range(total):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("total", [10, 40, 100])
@pytest.mark.parametrize("kind", ["one_cycle", "cosine", "step", "triangle"])
def test_as_torch(kind: str, total: int) -> None:
    peak = 0.5 if kind == "triangle" else 0.3
    recipe = Recipe("toy", learning_rate=0.3, schedule=kind, milestones=(0.5, 0.7), peak=peak)  # type: ignore[arg-type]
    ours = [learning_rate(recipe, step, total) for step in range(total)]
    assert ours == pytest.approx(_torchs(kind, total), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("kind", ["one_cycle", "cosine", "step", "constant"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_very_short_run_keeps_its_rates_in_range(kind: str, total: int) -> None:
    recipe = Recipe("toy", learning_rate=0.3, schedule=kind)  # type: ignore[arg-type]
    rates = [learning_rate(recipe, step, total) for step in range(total)]
    assert all(0 <= rate <= 0.3 for rate in rates) and max(rates) > 0


def test_the_attack_warms_up_in_equal_steps() -> None:
    recipe = Recipe("toy", eps_warmup=0.4)
    strengths = [attack_strength(recipe, step, 10) for step in range(10)]
    assert strengths == [Fraction(k, 4) for k in (1, 2, 3, 4)] + [Fraction(1)] * 6
    assert attack_strength(Recipe("toy"), 0, 10) == 1
