"""Attacks that break the contract, one way each."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Honest:
    """A direction that breaks some images and not others."""

    def __call__(self, oracle, x, y, budget, generator):
        return (x + budget.radius * torch.sign(oracle.climb(_wrong, x, y).gradient)).clamp(0, 1)


@dataclass(frozen=True)
class NotANumber:
    def __call__(self, oracle, x, y, budget, generator):
        return x * torch.nan


@dataclass(frozen=True)
class Infinite:
    def __call__(self, oracle, x, y, budget, generator):
        return x + torch.inf


@dataclass(frozen=True)
class LeavesTheBall:
    def __call__(self, oracle, x, y, budget, generator):
        return 1 - x


@dataclass(frozen=True)
class LeavesTheBox:
    def __call__(self, oracle, x, y, budget, generator):
        return torch.where(x > 0.5, x + budget.radius, x - budget.radius) * 3


@dataclass(frozen=True)
class OneImageLess:
    def __call__(self, oracle, x, y, budget, generator):
        return x[1:]


@dataclass(frozen=True)
class Flat:
    def __call__(self, oracle, x, y, budget, generator):
        return x.flatten(1)


@dataclass(frozen=True)
class Double:
    def __call__(self, oracle, x, y, budget, generator):
        return Honest()(oracle, x, y, budget, generator).double()


@dataclass(frozen=True)
class Half:
    def __call__(self, oracle, x, y, budget, generator):
        return Honest()(oracle, x, y, budget, generator).half()


@dataclass(frozen=True)
class Mutates:
    """Writes into the clean images, so that what it returns seems not to have moved."""

    def __call__(self, oracle, x, y, budget, generator):
        return x.copy_(1 - x)


@dataclass(frozen=True)
class Relabels:
    """Writes into the labels, so that every answer seems wrong."""

    def __call__(self, oracle, x, y, budget, generator):
        y.add_(1).remainder_(oracle.num_classes)
        return x


@dataclass(frozen=True)
class Raises:
    def __call__(self, oracle, x, y, budget, generator):
        raise RuntimeError("no luck today")


@dataclass(frozen=True)
class Asserts:
    def __call__(self, oracle, x, y, budget, generator):
        assert len(y) == 0


@dataclass(frozen=True)
class Nothing:
    def __call__(self, oracle, x, y, budget, generator):
        return None


class Plain:
    """No dataclass: a record could not say what it was."""

    def __call__(self, oracle, x, y, budget, generator):
        return x


def _wrong(logits, y):
    return torch.nn.functional.cross_entropy(logits, y, reduction="none")
