"""Passes that one training step makes, counted exactly by watching every convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.api import Defense
from benchmarks.timing import Row, Settings
from benchmarks.training import fit_paced, random_network, task
from defenses.agkd_bml import AgkdBml
from defenses.pgd_at import PgdAt

ARCHITECTURE = "wide_resnet_10_1"  # tiny, and some of its BatchNorms can be folded
SIDE = 8
BATCH = 6


@dataclass(frozen=True)
class Passes:
    """Passes of a training step, in units of its batch: 3.0 is one pass of three times the images."""

    forwards: float  # of the network that trains
    parent_forwards: float  # of fixed networks, such as a teacher
    backwards_to_images: float  # those that compute no gradient of a weight
    backwards_to_weights: float


def passes_of_a_step(defense: Defense, parents: Mapping[str, nn.Module]) -> Passes:
    """The passes of the second training step; the first also checks the folded copy of the network."""
    counter = _Convolutions([parent.state_dict() for parent in parents.values()])

    def around(number: int) -> AbstractContextManager[object]:
        return _counting(counter) if number == 1 else nullcontext()

    net = fit_paced(
        defense,
        task(ARCHITECTURE, SIDE),
        parents=parents,
        batch=BATCH,
        steps=2,
        precision="fp32",
        device=torch.device("cpu"),
        around=around,
    )
    unit = BATCH * sum(isinstance(module, nn.Conv2d) for module in net.modules())
    return Passes(
        counter.forwards / unit, counter.parents / unit, counter.to_images / unit, counter.to_weights / unit
    )


def measure(settings: Settings) -> list[Row]:
    """PGD training and AGKD-BML against their formulas, for K attack steps."""
    rows = []
    teacher = random_network(task(ARCHITECTURE, SIDE))
    cases: list[tuple[str, Defense, Mapping[str, nn.Module], Passes, tuple[str, ...]]] = [
        ("pgd_at K=10", PgdAt(steps=10), {}, expected_pgd_at(10), ("K + 1", "0", "K", "1")),
        (
            "agkd_bml K=7",
            AgkdBml(steps=7),
            {"teacher": teacher},
            expected_agkd_bml(7),
            ("2K + 1 + 3", "2", "2K", "3"),
        ),
    ]
    for title, defense, parents, expected, formulas in cases:
        settings.say(title)
        found = passes_of_a_step(defense, parents)
        for name, formula in zip(_NAMES, formulas, strict=True):
            count, bar = getattr(found, name), getattr(expected, name)
            rows.append(Row("passes", f"{title}: {_NAMES[name]}", formula, count, bar=bar, exact=True))
    return rows


def expected_pgd_at(steps: int) -> Passes:
    """K gradients of the images, then one pass with gradients of the weights."""
    return Passes(steps + 1, 0, steps, 1)


def expected_agkd_bml(steps: int) -> Passes:
    """Two attacks, one look for the target class, a joint pass of 3B, and a teacher that sees 2B."""
    return Passes(2 * steps + 1 + 3, 2, 2 * steps, 3)


_NAMES = {
    "forwards": "forwards",
    "parent_forwards": "teacher's forwards",
    "backwards_to_images": "backwards to images",
    "backwards_to_weights": "backwards to weights",
}


@contextmanager
def _counting(counter: _Convolutions) -> Iterator[None]:
    with counter:
        yield


class _Convolutions(TorchDispatchMode):
    """Images that went through convolutions, each convolution counted for itself."""

    def __init__(self, parents: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self._of_parents = {tensor.data_ptr() for state in parents for tensor in state.values()}
        self.forwards = self.parents = self.to_images = self.to_weights = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            images, weight = args[:2]
            if weight.data_ptr() in self._of_parents:
                self.parents += len(images)
            else:
                self.forwards += len(images)
        elif func is torch.ops.aten.convolution_backward.default:
            gradient, weights_too = args[0], args[-1][1]
            if weights_too:
                self.to_weights += len(gradient)
            else:
                self.to_images += len(gradient)
        return func(*args, **(kwargs or {}))
