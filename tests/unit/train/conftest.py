"""A small separable problem, a small network with everything that has a state, and defenses for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from bench.api import Batch, Deployed, Features, FitContext, Task, Terms
from bench.attacks.pgd import PGD
from bench.core.progress import Silent
from bench.data.dataset import Dataset
from bench.data.load import load
from bench.train.checkpoints import Checkpoints
from bench.train.context import TrainContext
from bench.train.loop import fit_classifier
from bench.train.recipe import Recipe


class Net(nn.Module):
    """conv-BN-dropout-linear for 1x8x8 images and 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8)
        self.dropout, self.linear = nn.Dropout(0.2), nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).logits

    def forward_features(self, x: Tensor) -> Features:
        feature_map = self.norm(self.conv(x - 0.4)).relu()
        features = self.dropout(feature_map.flatten(1))
        return Features(self.linear(features), features, (feature_map,))


@dataclass(frozen=True)
class Toy:
    """PGD-AT, or standard training where steps is 0; `before` sees every batch first."""

    requires: ClassVar[Mapping[str, str]] = {}
    paper: ClassVar[str] = "a toy"
    reconstruction: ClassVar[str | None] = None

    steps: int = 2
    before: Callable[[Batch], None] | None = None

    def build(self, task: Task) -> nn.Module:
        return Net()

    def fit(self, net: nn.Module, context: FitContext) -> None:
        def step(model: nn.Module, batch: Batch) -> Terms:
            if self.before is not None:
                self.before(batch)
            if not self.steps:
                return {"clean": F.cross_entropy(model(batch.x), batch.y)}
            x_adv = context.attack(model, PGD(steps=self.steps), batch.x, batch.y)
            like = context.like(batch.y)
            clean = 0.1 * F.cross_entropy(model(like.x), like.y)
            return {"adversarial": F.cross_entropy(model(x_adv), batch.y), "clean": clean}

        fit_classifier(net, context, step)

    def deploy(self, net: nn.Module) -> Deployed:
        return Deployed(predict=net)


@pytest.fixture(scope="session")
def data() -> Dataset:
    return replace(load("synthetic"), augmentation="crop_flip")


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("toy", epochs=3, batch_size=64, learning_rate=0.05, validation_steps=2, ema_decay=0.5)


@pytest.fixture
def toy() -> type[Toy]:
    return Toy


@pytest.fixture
def make_net() -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return Net()

    return make


@pytest.fixture
def make_context(data: Dataset, recipe: Recipe, tmp_path: Path) -> Callable[..., TrainContext]:
    def make(
        net: nn.Module, changed: Dataset | None = None, folder: Path = tmp_path, **settings: Any
    ) -> TrainContext:
        return TrainContext(
            fabric=Fabric(accelerator="cpu", devices=1),
            data=changed or data,
            task=data.task(),
            budget=data.budget,
            recipe=replace(recipe, **settings),
            seed=0,
            identity="test",
            parents={},
            checkpoints=Checkpoints(folder),
            progress=Silent(),
            whole=net,
            title="training a toy",
        )

    return make
