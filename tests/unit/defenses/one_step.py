"""One training step of a defense on given images, as the training loop makes it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from fractions import Fraction
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import Batch, Step, Terms
from bench.core.threat import Budget, Norm
from bench.plan import parse_defense
from bench.train.context import TrainContext
from bench.train.recipe import Recipe

from .formulas_of_tensors import CLASSES, EPS, FormulaNorm, Y, images

BUDGET = Budget(Norm.LINF, Fraction(str(EPS)))


class Lent(TrainContext):
    """A context without data, which keeps what was crafted last."""

    autocast = nullcontext  # type: ignore[assignment]

    def __init__(self, parents: Mapping[str, nn.Module]) -> None:
        self.parents, self.budget, self.strength = parents, BUDGET, Fraction(1)
        self.recipe, self.task = Recipe("one step"), SimpleNamespace(num_classes=CLASSES)  # type: ignore[assignment]
        self.elapsed, self.generator, self.device = Fraction(0), torch.Generator(), torch.device("cpu")
        self.hook, self._tape, self._folded = None, None, {}
        self.crafted = torch.zeros(0)

    def attack(self, *told: Any, **mode: Any) -> Tensor:
        """As ever."""
        self.crafted = super().attack(*told, **mode)
        return self.crafted


def one_step(name: str) -> tuple[nn.Module, Tensor]:
    """A network with BatchNorm after a step of SGD, and the images that were crafted for it."""
    defense: Any = parse_defense(name, {}).defense
    base = import_module(type(getattr(defense, "base", defense)).__module__)
    net, context, steps = FormulaNorm().train(), Lent({"teacher": FormulaNorm(1.5).eval()}), list[Step]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(base, "fit_classifier", lambda net, context, step: steps.append(step))
        defense.fit(net, context)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    _move(context, steps[0], net, optimizer)
    return net, context.crafted


def _move(context: Lent, step: Step, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    batch, hook = Batch(images(), Y, Y), context.hook
    _go_back(step(net, batch) if hook is None else hook.terms(net, step, net, batch))
    if hook is not None:
        hook.after_backward(net)
    optimizer.step()
    if hook is not None:
        hook.after_step(net)


def _go_back(terms: Terms) -> None:
    torch.stack(list(terms.values())).sum().backward()
