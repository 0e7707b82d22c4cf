"""The product's training on made-up images, with a hook around each of its steps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Generator, nn

from bench.api import Batch, Defense, Task
from bench.core.progress import Silent
from bench.core.threat import Budget, Norm
from bench.data.dataset import Dataset, Images
from bench.nn.architectures import network
from bench.plan import parse_defense, parse_network
from bench.train.checkpoints import Checkpoints
from bench.train.context import TrainContext
from bench.train.recipe import Recipe

Around = Callable[[int], AbstractContextManager[object]]
"""The number of a training step, from 0 -> what is entered before and left after it."""

BUDGET = Budget(Norm.LINF, Fraction(8, 255))


def task(architecture: str, side: int = 32) -> Task:
    """Ten classes of colour images, as CIFAR-10 has them."""
    return Task("made_up", 10, (3, side, side), (0.5,) * 3, (0.25,) * 3, architecture, BUDGET)


def random_network(of: Task) -> nn.Module:
    """Fresh weights, the same each time, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return network(of).eval()


def built(defense: Defense, of: Task) -> nn.Module:
    """A defense's modules with fresh weights, the same each time, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return defense.build(of).eval()


def parents_of(defense: Defense, of: Task) -> dict[str, nn.Module]:
    """The networks that a defense requires, with fresh weights, all of the task's architecture."""
    return {
        role: built(
            parse_defense(parse_network(parent)[0], {}).defense if isinstance(parent, str) else parent, of
        )
        for role, parent in defense.requires.items()
    }


def random_images(of: Task, n: int) -> Images:
    """Bytes drawn uniformly, with labels drawn uniformly; the same each time."""
    generator = Generator().manual_seed(0)
    x = torch.randint(256, (n, *of.image_shape), generator=generator, dtype=torch.uint8)
    y = torch.arange(n) % of.num_classes
    return Images(x, y, torch.arange(n))


def fit_paced(
    defense: Defense,
    of: Task,
    *,
    parents: Mapping[str, nn.Module],
    batch: int,
    steps: int,
    precision: Literal["fp32", "bf16"],
    device: torch.device,
    around: Around,
    net: nn.Module | None = None,
) -> nn.Module:
    """Let a defense train for some steps by the loop that all training takes; the trained modules.

    `net` are the defense's own modules; None builds them. Of the classes each has at least one image, as
    `TrainContext.like` needs.
    """
    images = random_images(of, max(batch * steps, of.num_classes))
    recipe = Recipe(
        "benchmark",
        epochs=1,
        batch_size=batch,
        learning_rate=0.01,
        schedule="constant",
        precision=precision,
        channels_last=True,
        validation_examples=0,
        select="last",
    )
    fabric = Fabric(
        accelerator=device.type, devices=1, precision="bf16-mixed" if precision == "bf16" else "32-true"
    )
    net = (built(defense, of) if net is None else net).to(device)
    with tempfile.TemporaryDirectory() as folder:
        context = _Paced(
            around,
            steps,
            fabric=fabric,
            data=_dataset(of, images),
            task=of,
            budget=of.budget,
            recipe=recipe,
            seed=0,
            identity="benchmark",
            parents={
                role: parent.to(device).eval().requires_grad_(False) for role, parent in parents.items()
            },
            checkpoints=Checkpoints(Path(folder)),
            progress=Silent(),
            whole=net,
            title="benchmark",
        )
        defense.fit(net, context)
    return net


class _Paced(TrainContext):
    """Between one batch and the next the loop makes exactly one step: there the hook is."""

    def __init__(self, around: Around, steps: int, **everything: Any) -> None:
        super().__init__(**everything)
        self._around = around
        self._steps = steps

    def epoch(self, number: int, replays: int = 1) -> Iterator[Batch]:
        """The batches, each within what `around` gives for its number."""
        for step, batch in zip(range(self._steps), super().epoch(number, replays), strict=False):
            with self._around(step):
                yield batch


def _dataset(of: Task, images: Images) -> Dataset:
    none = images.take(torch.arange(0))
    return Dataset(
        name=of.data,
        num_classes=of.num_classes,
        image_shape=of.image_shape,
        mean=of.mean,
        std=of.std,
        budget=of.budget,
        augmentation="crop_flip",
        architecture=of.architecture,
        classes=tuple(str(label) for label in range(of.num_classes)),
        train=images,
        validation=none,
        test=none,
        digest="",
    )
