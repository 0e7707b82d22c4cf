"""What tests of several defenses share: a training of a few steps, its attacks, and its passes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.train.context import TrainContext


@dataclass(frozen=True)
class Attacked:
    """One attack that a training asked for."""

    net: nn.Module  # as it was then, in eval mode
    attack: Any
    x: Tensor
    labels: tuple[Tensor, ...]
    x_adv: Tensor


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> list[Attacked]:
    """Every attack that trainings ask for from now on."""
    seen: list[Attacked] = []
    attack = TrainContext.attack

    def watched(
        self: TrainContext, net: nn.Module, how: Any, x: Tensor, *labels: Tensor, **mode: Any
    ) -> Tensor:
        then = copy.deepcopy(net).eval()
        x_adv = attack(self, net, how, x, *labels, **mode)
        seen.append(Attacked(then, how, x, labels, x_adv))
        return x_adv

    monkeypatch.setattr(TrainContext, "attack", watched)
    return seen


@pytest.fixture
def waves() -> Callable[..., Tensor]:
    """scale sin(0.7 i + phase), i = 0, 1, ..., in rows: what the authors' own code was run on."""

    def made(*shape: int, phase: float, scale: float = 2.0) -> Tensor:
        places = torch.arange(math.prod(shape), dtype=torch.float32)
        return ((0.7 * places + phase).sin() * scale).view(shape)

    return made


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of the folder `benchmarks`, which is not installed."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    return lambda name: import_module(f"benchmarks.{name}")


@pytest.fixture
def short(benchmarks: Callable[[str], ModuleType]) -> Callable[..., nn.Module]:
    """Train a defense for a few steps of 8 made-up 8x8 images, eps 8/255, on a network with BatchNorm."""
    training = benchmarks("training")
    task = training.task("wide_resnet_10_1", side=8)

    def train(defense: Any, steps: int = 2, **parents: nn.Module) -> nn.Module:
        net: nn.Module = training.fit_paced(
            defense,
            task,
            parents=parents,
            batch=8,
            steps=steps,
            precision="fp32",
            device=torch.device("cpu"),
            around=lambda number: nullcontext(),
        )
        return net

    return train


@pytest.fixture
def fresh(benchmarks: Callable[[str], ModuleType]) -> nn.Module:
    """A network of random weights that `short` may take for a parent."""
    training = benchmarks("training")
    net: nn.Module = training.random_network(training.task("wide_resnet_10_1", side=8))
    return net


@pytest.fixture
def passes(benchmarks: Callable[[str], ModuleType], fresh: nn.Module) -> Callable[..., Any]:
    """Forwards, parents' forwards, backwards to images and to weights of one training step."""
    module = benchmarks("passes")

    def count(defense: Any) -> tuple[float, float, float, float]:
        found = module.passes_of_a_step(defense, dict.fromkeys(defense.requires, fresh))
        return (
            found.forwards,
            found.parent_forwards,
            found.backwards_to_images,
            found.backwards_to_weights,
        )

    return count
