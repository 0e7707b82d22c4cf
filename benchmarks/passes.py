"""Passes that one training step makes, counted exactly by watching every convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.api import Defense
from benchmarks.formulas import (
    FORMULAS,
    Passes,
    attack_steps,
    defense_of,
    expected,
    measured,
    passed,
    trained,
)
from benchmarks.timing import Row, Settings
from benchmarks.training import built, fit_paced, parents_of, task

ARCHITECTURE = "wide_resnet_10_1"  # tiny, and some of its BatchNorms can be folded
SIDE = 8
BATCH = 6

Part = Literal["own", "parent", "classifier"]


def passes_of_a_step(defense: Defense, parents: Mapping[str, nn.Module], counted: int = 1) -> Passes:
    """The passes of one training step, by default the second: 0 also checks the folded copy of the network.

    All are zero of a defense that trains nothing.
    """
    net = built(defense, task(ARCHITECTURE, SIDE))
    counter = _Convolutions(net, parents)

    def around(number: int) -> AbstractContextManager[object]:
        return _counting(counter) if number == counted else nullcontext()

    fit_paced(
        defense,
        task(ARCHITECTURE, SIDE),
        net=net,
        parents=parents,
        batch=BATCH,
        steps=counted + 1,
        precision="fp32",
        device=torch.device("cpu"),
        around=around,
    )
    return counter.passes()


def measure(settings: Settings) -> list[Row]:
    """Every defense against its formula."""
    rows = []
    of = task(ARCHITECTURE, SIDE)
    for name in settings.defenses or measured():
        settings.say(name)
        formula, defense = FORMULAS[name], defense_of(name)
        found = passes_of_a_step(defense, parents_of(defense, of), formula.counted)
        wanted = expected(formula, defense, BATCH)
        title = f"{name} K={attack_steps(defense)}" if formula.attacks else name
        for what, text in formula.texts().items():
            count, bar = float(getattr(found, what)), float(getattr(wanted, what))
            if count or bar:
                rows.append(Row("passes", f"{title}: {_NAMES[what]}", text, count, bar=bar, exact=True))
    return rows


_NAMES = {
    "forwards": "forwards",
    "classifier_forwards": "classifier's forwards",
    "parent_forwards": "teachers' forwards",
    "backwards_to_images": "backwards to images",
    "backwards_to_weights": "backwards to weights",
}


@contextmanager
def _counting(counter: _Convolutions) -> Iterator[None]:
    with counter:
        yield


class _Convolutions(TorchDispatchMode):
    """Images that went through convolutions, each convolution counted for itself."""

    def __init__(self, net: nn.Module, parents: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._net = net
        # of a parent that is a purifier nothing else is looked through
        self._parents = [trained(parent) for parent in parents.values()]
        self._classifier = net.classifier if trained(net) is not net else None
        self._counts: dict[tuple[str, Part, int], int] = {}  # (kind, whose, its convolutions) -> images
        self._of: dict[int, tuple[Part, int]] = {}  # where a weight lies -> whose it is, its convolutions
        attacked = self._classifier or net
        # folded weights lie elsewhere, and only the network that is attacked is folded
        self._else: tuple[Part, int] = "own" if attacked is net else "classifier", _convolutions(attacked)

    def __enter__(self) -> _Convolutions:
        # now, not before: a change of memory format has moved the weights
        networks: list[tuple[Part, Any]] = [("own", trained(self._net)), ("classifier", self._classifier)]
        for part, network in [*networks, *(("parent", parent) for parent in self._parents)]:
            if network is not None:
                for tensor in network.state_dict().values():
                    self._of[tensor.data_ptr()] = part, _convolutions(network)
        super().__enter__()
        return self

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            self._count("forwards", args[0], args[1])
        elif func is torch.ops.aten.convolution_backward.default:
            self._count("backwards_to_weights" if args[-1][1] else "backwards_to_images", args[0], args[2])
        return func(*args, **(kwargs or {}))

    def _count(self, kind: str, images: Tensor, weight: Tensor) -> None:
        part, convolutions = self._of.get(weight.data_ptr(), self._else)
        key = kind, part, convolutions
        self._counts[key] = self._counts.get(key, 0) + len(images)

    def passes(self) -> Passes:
        """What was counted, in units of the batch."""
        found: dict[str, Fraction] = {field.name: Fraction(0) for field in fields(Passes)}
        for (kind, part, convolutions), images in self._counts.items():
            name = f"{part}_{kind}" if kind == "forwards" and part != "own" else kind
            found[name] += Fraction(images, BATCH * convolutions)
        return Passes(**found)


def _convolutions(network: nn.Module) -> int:
    """Of one pass."""
    return sum(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in passed(network).modules())
